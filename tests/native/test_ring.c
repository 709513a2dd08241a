/* SPDX-License-Identifier: Apache-2.0
 *
 * Split rings, honest and not: what comes out, what is refused and why, and that the
 * guest gets every chain back.
 */
#include "harness.h"

#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "core/loan.h"
#include "core/offload.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "guest_ring.h"
#include "tcp_frame.h"
#include "vhost/chain.h"

#define SIZE 16
#define DATA (GUEST_BASE + GUEST_DATA)
#define END (GUEST_BASE + GUEST_SIZE + GUEST_MORE)
#define TABLE (GUEST_BASE + GUEST_DATA - 0x1000)

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static struct guest_ring g;
static struct rte_mbuf *pkts[VB_BURST];

static int setup(void **state)
{
	(void)state;
	harness_start(1);
	return guest_ring_init(&g, SIZE);
}

static int teardown(void **state)
{
	(void)state;
	guest_ring_fini(&g);
	return harness_in_use() == 0 ? 0 : -1;
}

static void write_frame(uint64_t gpa, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		*(uint8_t *)guest_at(&g, gpa + i) = (uint8_t)i;
}

static uint16_t receive(void)
{
	uint16_t n = vhost_ring_receive(&g.ring, &g.v, &g.row, pkts, VB_BURST);

	vhost_ring_release(&g.ring, &g.v);
	return n;
}

/* One frame of len bytes came, and is what write_frame() wrote. */
static void expect_frame(uint32_t len)
{
	const uint8_t *bytes;
	uint8_t *copy;

	assert_int_equal(receive(), 1);
	assert_int_equal(pkts[0]->pkt_len, len);
	copy = malloc(len);
	bytes = rte_pktmbuf_read(pkts[0], 0, len, copy);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], (uint8_t)i);
	free(copy);
	rte_pktmbuf_free(pkts[0]);
}

/* Nothing came, for that reason; the chain at head went back all the same. */
static void expect_drop(enum vb_drop why, uint16_t head)
{
	uint16_t used = g.v.used->idx;

	assert_int_equal(receive(), 0);
	assert_int_equal(g.row.drops[why], 1);
	assert_int_equal((uint16_t)(g.v.used->idx - used), 1);
	assert_int_equal(g.v.used->ring[used % SIZE].id, head);
	assert_int_equal(g.row.from_peer_packets, 1);
	assert_int_equal(g.row.from_peer_bytes, 0);
	assert_int_equal(g.ring.refused, 1);
	/* The next frame is none the worse. */
	memset(guest_at(&g, DATA), 0, 12);
	write_frame(DATA + 12, 60);
	guest_desc(&g, 0, DATA, 72, 0, 0);
	guest_offer(&g, 0);
	expect_frame(60);
}

/* ---- what guests leave to be done ---- */

/* Have a frame and its header in guest memory at DATA; returns how many bytes. */
static uint32_t write_offload(const struct tcp_frame *f, const struct virtio_net_hdr *hdr)
{
	struct rte_mbuf *m = tcp_frame_make(f);
	uint32_t len = 12 + m->pkt_len, at = 12;

	memset(guest_at(&g, DATA), 0, 12);
	memcpy(guest_at(&g, DATA), hdr, sizeof(*hdr));
	for (struct rte_mbuf *seg = m; seg != NULL; seg = seg->next) {
		memcpy(guest_at(&g, DATA) + at, rte_pktmbuf_mtod(seg, void *), seg->data_len);
		at += seg->data_len;
	}
	rte_pktmbuf_free(m);
	return len;
}

/* Through one ring and out of another: the header says the same, but for what is ours. */
static void an_offload_passes(void **state)
{
	const struct tcp_frame f = {.version = 6, .payload = 65535 - 20};
	struct virtio_net_hdr hdr = tcp_frame_header(&f, 1440);
	uint32_t len, to = DATA + 0x11000 - GUEST_BASE;

	(void)state;
	hdr.hdr_len = 3;
	len = write_offload(&f, &hdr);
	g.v.offloads = VB_OFFLOAD_ALL;
	guest_desc(&g, 0, DATA, len, 0, 0);
	guest_offer(&g, 0);
	assert_int_equal(receive(), 1);
	assert_int_equal(pkts[0]->pkt_len, len - 12);
	guest_desc(&g, 1, GUEST_BASE + to, len, WRITE, 0);
	guest_offer(&g, 1);
	vhost_ring_send(&g.ring, &g.v, &g.row, pkts, 1);
	assert_int_equal(g.v.used->ring[1].len, len);
	hdr.hdr_len = tcp_frame_payload(&f);
	assert_memory_equal(g.first + to, &hdr, sizeof(hdr));
	assert_memory_equal(g.first + to + 12, guest_at(&g, DATA + 12), len - 12);
}

/* ---- from the guest: what is good ---- */

static void one_descriptor(void **state)
{
	(void)state;
	write_frame(DATA + 12, 60);
	guest_desc(&g, 3, DATA, 72, 0, 0);
	guest_offer(&g, 3);
	expect_frame(60);
	assert_int_equal(g.v.used->idx, 1);
	assert_int_equal(g.v.used->ring[0].id, 3);
	assert_int_equal(g.row.from_peer_bytes, 60);
}

static void header_apart(void **state)
{
	(void)state;
	write_frame(DATA + 0x100, 60);
	guest_desc(&g, 0, DATA, 12, NEXT, 5);
	guest_desc(&g, 5, DATA + 0x100, 60, 0, 0);
	guest_offer(&g, 0);
	expect_frame(60);
}

/* As many descriptors as the ring has, a byte of header each in the first twelve. */
static void the_longest_chain(void **state)
{
	(void)state;
	write_frame(DATA + 12, 60);
	for (int i = 0; i < SIZE; i++)
		guest_desc(&g, i, DATA + i, i == SIZE - 1 ? 72 - i : 1, i < SIZE - 1 ? NEXT : 0,
			i + 1);
	guest_offer(&g, 0);
	expect_frame(60);
}

static void an_indirect_table(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	write_frame(DATA + 0x100, 60);
	table[0] = (struct vring_desc){DATA, 12, NEXT, 2};
	table[2] = (struct vring_desc){DATA + 0x100, 60, 0, 0};
	guest_desc(&g, 1, TABLE, 3 * sizeof(*table), INDIRECT, 0);
	guest_offer(&g, 1);
	expect_frame(60);
}

static void a_table_behind_descriptors(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	write_frame(DATA + 0x100, 60);
	table[0] = (struct vring_desc){DATA + 0x100, 60, 0, 0};
	guest_desc(&g, 0, DATA, 12, NEXT, 1);
	guest_desc(&g, 1, TABLE, sizeof(*table), INDIRECT, 0);
	guest_offer(&g, 0);
	expect_frame(60);
}

static void a_buffer_across_two_regions(void **state)
{
	uint64_t gpa = GUEST_BASE + GUEST_SIZE - 30;

	(void)state;
	write_frame(gpa + 12, 60);
	memset(guest_at(&g, gpa), 0, 12);
	guest_desc(&g, 0, gpa, 72, 0, 0);
	guest_offer(&g, 0);
	expect_frame(60);
}

static void a_frame_of_many_buffers(void **state)
{
	(void)state;
	write_frame(DATA + 12, 9000);
	guest_desc(&g, 0, DATA, 9012, 0, 0);
	guest_offer(&g, 0);
	expect_frame(9000);
}

static void the_longest_frame(void **state)
{
	(void)state;
	write_frame(DATA + 12, VHOST_FRAME_MAX);
	guest_desc(&g, 0, DATA, 12 + VHOST_FRAME_MAX, 0, 0);
	guest_offer(&g, 0);
	expect_frame(VHOST_FRAME_MAX);
}

/* ---- what is lent ---- */

static struct rte_mbuf *receive_unreleased(uint32_t len)
{
	write_frame(DATA + 12, len);
	guest_desc(&g, 0, DATA, 12 + len, 0, 0);
	guest_offer(&g, 0);
	assert_int_equal(vhost_ring_receive(&g.ring, &g.v, &g.row, pkts, VB_BURST), 1);
	assert_int_equal(pkts[0]->pkt_len, len);
	return pkts[0];
}

static void a_long_frame_is_lent(void **state)
{
	struct rte_mbuf *m = receive_unreleased(1500);

	(void)state;
	assert_true(vb_is_lent(m));
	assert_int_equal(m->nb_segs, 2);
	assert_int_equal(m->data_len, VB_HEAD);
	assert_int_equal(m->next->data_len, 1500 - VB_HEAD);
	assert_ptr_equal(rte_pktmbuf_mtod(m->next, void *), guest_at(&g, DATA + 12 + VB_HEAD));
	/* The guest has its buffer back when nobody needs it any more. */
	assert_int_equal(g.v.used->idx, 0);
	rte_pktmbuf_free(m);
	vhost_ring_release(&g.ring, &g.v);
	assert_int_equal(g.v.used->idx, 1);
}

static void a_short_frame_is_not_lent(void **state)
{
	struct rte_mbuf *m = receive_unreleased(1000);

	(void)state;
	assert_int_equal(m->nb_segs, 1);
	rte_pktmbuf_free(m);
	vhost_ring_release(&g.ring, &g.v);
}

static void what_is_kept_is_no_loan(void **state)
{
	struct rte_mbuf *m = receive_unreleased(1500);

	(void)state;
	assert_int_equal(vb_loans_end(&g.row, &m, 1), 1);
	assert_false(vb_is_lent(m));
	assert_int_equal(m->pkt_len, 1500);
	vhost_ring_release(&g.ring, &g.v);
	memset(guest_at(&g, DATA), 0xff, 1512);
	for (uint32_t i = 0; i < 1500; i++)
		assert_int_equal(*rte_pktmbuf_mtod_offset(m, uint8_t *, i), (uint8_t)i);
	assert_int_equal(rte_mempool_in_use_count(vb_loans), 0);
	rte_pktmbuf_free(m);
}

static void without_loans_it_is_copied(void **state)
{
	struct rte_mbuf *all[1024], *m;
	uint32_t n = 0;

	(void)state;
	while ((all[n] = vb_loan_new()) != NULL)
		n++;
	m = receive_unreleased(VHOST_FRAME_MAX);
	assert_false(vb_is_lent(m));
	vhost_ring_release(&g.ring, &g.v);
	rte_pktmbuf_free_bulk(all, n);
	rte_pktmbuf_free(m);
}

static void what_others_have_stays_whole(void **state)
{
	struct rte_mbuf *m = receive_unreleased(1500);

	(void)state;
	rte_mbuf_refcnt_update(m, 1);
	rte_mbuf_refcnt_update(m->next, 1);
	vb_loans_free(&m, 1);
	assert_true(vb_is_lent(m));
	assert_int_equal(m->next->data_len, 1500 - VB_HEAD);
	vb_loans_free(&m, 1);
	assert_int_equal(harness_in_use(), 0);
	vhost_ring_release(&g.ring, &g.v);
}

/* From guest to guest: what was lent is written where it belongs. */
static void a_loan_is_passed_on(void **state)
{
	static struct guest_ring to;
	struct rte_mbuf *m = receive_unreleased(1500);

	(void)state;
	assert_int_equal(guest_ring_init(&to, SIZE), 0);
	guest_desc(&to, 0, DATA, 2048, WRITE, 0);
	guest_offer(&to, 0);
	vhost_ring_send(&to.ring, &to.v, &to.row, &m, 1);
	assert_int_equal(to.v.used->ring[0].len, 1512);
	for (uint32_t i = 0; i < 1500; i++)
		assert_int_equal(*(uint8_t *)guest_at(&to, DATA + 12 + i), (uint8_t)i);
	guest_ring_fini(&to);
	vhost_ring_release(&g.ring, &g.v);
}

static void indexes_wrap(void **state)
{
	(void)state;
	g.v.avail->idx = g.v.used->idx = 65534;
	vhost_ring_reset(&g.ring, 65534);
	write_frame(DATA + 12, 60);
	guest_desc(&g, 0, DATA, 72, 0, 0);
	for (int i = 0; i < 40; i++) {
		guest_offer(&g, 0);
		expect_frame(60);
	}
	assert_int_equal(g.v.used->idx, (uint16_t)(65534 + 40));
}

/* ---- kicks ---- */

static void kicks_by_flags(void **state)
{
	(void)state;
	vhost_ring_hush(&g.ring, &g.v);
	assert_int_equal(g.v.used->flags, VRING_USED_F_NO_NOTIFY);
	assert_true(vhost_ring_listen(&g.ring, &g.v));
	assert_int_equal(g.v.used->flags, 0);
	guest_offer(&g, 0);
	assert_false(vhost_ring_listen(&g.ring, &g.v));
}

/* Whether the driver kicks when it makes one chain more available than "before". */
static bool would_kick(uint16_t before)
{
	return vring_need_event(*(uint16_t *)&g.v.used->ring[SIZE], before + 1, before);
}

static void kicks_by_numbers(void **state)
{
	(void)state;
	g.v.event_idx = true;
	g.v.avail->idx = g.v.used->idx = 65535;
	vhost_ring_reset(&g.ring, 65535);
	assert_true(vhost_ring_listen(&g.ring, &g.v));
	assert_true(would_kick(65535));
	vhost_ring_hush(&g.ring, &g.v);
	for (uint32_t i = 0; i < 65535; i++)
		assert_false(would_kick(65535 + i));
	assert_int_equal(g.v.used->flags, 0);
	guest_offer(&g, 0);
	assert_false(vhost_ring_listen(&g.ring, &g.v));
}

static void wishes_are_logged(void **state)
{
	uint8_t bits[2] = {0};
	const struct vhost_log log = {.bits = bits, .nb_pages = 16};

	(void)state;
	g.v.log = &log;
	g.v.log_used = VHOST_LOG_PAGE;
	vhost_ring_hush(&g.ring, &g.v);
	assert_int_equal(bits[0], 1 << 1);
	g.v.event_idx = true;
	/* Its place is behind the ring, on the next page. */
	g.v.log_used = 3 * VHOST_LOG_PAGE - sizeof(struct vring_used) - SIZE * 8;
	assert_true(vhost_ring_listen(&g.ring, &g.v));
	assert_int_equal(bits[0], 1 << 1 | 1 << 3);
}

/* An index that cannot be true was refused once, and is nothing to take. */
static void an_index_that_jumped_is_no_work(void **state)
{
	(void)state;
	g.v.avail->idx = 1000;
	assert_false(vhost_ring_listen(&g.ring, &g.v));
	assert_int_equal(receive(), 0);
	assert_true(vhost_ring_listen(&g.ring, &g.v));
}

/* ---- from the guest: what is not ---- */

static void next_outside_the_ring(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 72, NEXT, SIZE);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDEX, 0);
}

static void head_outside_the_ring(void **state)
{
	(void)state;
	guest_offer(&g, SIZE);
	expect_drop(VB_DROP_DESC_INDEX, SIZE);
}

static void a_circle_of_one(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 1, NEXT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_CHAIN, 0);
}

static void a_circle_of_empty_ones(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 0, NEXT, 1);
	guest_desc(&g, 1, DATA, 0, NEXT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_CHAIN, 0);
}

static void a_circle_in_a_table(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	table[0] = (struct vring_desc){DATA, 1, NEXT, 1};
	table[1] = (struct vring_desc){DATA, 1, NEXT, 0};
	guest_desc(&g, 0, TABLE, 2 * sizeof(*table), INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_CHAIN, 0);
}

static void too_many_pieces(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	/* Each of these 200 lies across two regions. */
	for (int i = 0; i < 200; i++)
		table[i] = (struct vring_desc){
			GUEST_BASE + GUEST_SIZE - 1, 2, i < 199 ? NEXT : 0, i + 1};
	guest_desc(&g, 0, TABLE, 200 * sizeof(*table), INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_CHAIN, 0);
}

static void a_table_that_was_not_agreed_on(void **state)
{
	(void)state;
	g.v.indirect = false;
	guest_desc(&g, 0, TABLE, 32, INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDIRECT, 0);
}

static void a_table_in_a_table(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	table[0] = (struct vring_desc){TABLE, 16, INDIRECT, 0};
	guest_desc(&g, 0, TABLE, 16, INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDIRECT, 0);
}

static void a_table_and_something_next(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	table[0] = (struct vring_desc){DATA, 72, 0, 0};
	guest_desc(&g, 0, TABLE, 16, INDIRECT | NEXT, 1);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDIRECT, 0);
}

static void a_table_of_half_a_descriptor(void **state)
{
	(void)state;
	guest_desc(&g, 0, TABLE, 24, INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDIRECT, 0);
}

static void an_empty_table(void **state)
{
	(void)state;
	guest_desc(&g, 0, TABLE, 0, INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDIRECT, 0);
}

static void a_table_across_the_end(void **state)
{
	struct vring_desc *table = guest_at(&g, END - 16);

	(void)state;
	table[0] = (struct vring_desc){DATA, 72, 0, 0};
	guest_desc(&g, 0, END - 16, 32, INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_MEMORY, 0);
}

static void next_outside_the_table(void **state)
{
	struct vring_desc *table = guest_at(&g, TABLE);

	(void)state;
	table[0] = (struct vring_desc){DATA, 12, NEXT, 2};
	table[2] = (struct vring_desc){DATA, 60, 0, 0};
	guest_desc(&g, 0, TABLE, 2 * sizeof(*table), INDIRECT, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_INDEX, 0);
}

static void a_buffer_outside_memory(void **state)
{
	(void)state;
	guest_desc(&g, 0, 0x1000, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_MEMORY, 0);
}

static void a_buffer_across_the_end(void **state)
{
	(void)state;
	guest_desc(&g, 0, END - 71, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_MEMORY, 0);
}

static void a_buffer_that_wraps(void **state)
{
	(void)state;
	guest_desc(&g, 0, UINT64_MAX - 10, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_MEMORY, 0);
}

static void more_bytes_than_can_be(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 0x10000, NEXT, 1);
	guest_desc(&g, 1, DATA, UINT32_MAX, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_MEMORY, 0);
}

static void a_buffer_to_write_to(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 12, NEXT, 1);
	guest_desc(&g, 1, DATA, 60, WRITE, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_DESC_DIRECTION, 0);
}

static void a_header_alone(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 12, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_HEADER_ONLY, 0);
}

static void less_than_a_header(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 3, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_HEADER_ONLY, 0);
}

static void a_frame_too_long(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 12 + VHOST_FRAME_MAX + 1, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_FRAME_TOO_LONG, 0);
}

static void segmentation_unasked(void **state)
{
	struct virtio_net_hdr *hdr = guest_at(&g, DATA);

	(void)state;
	hdr->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	guest_desc(&g, 0, DATA, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_BAD_GSO, 0);
}

static void a_checksum_unasked(void **state)
{
	struct virtio_net_hdr *hdr = guest_at(&g, DATA);

	(void)state;
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	guest_desc(&g, 0, DATA, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_BAD_CSUM, 0);
}

static void a_checksum_of_no_such_frame(void **state)
{
	struct virtio_net_hdr *hdr = guest_at(&g, DATA);

	(void)state;
	g.v.offloads = VB_OFFLOAD_ALL;
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->csum_start = 34;
	hdr->csum_offset = 16;
	guest_desc(&g, 0, DATA, 72, 0, 0);
	guest_offer(&g, 0);
	expect_drop(VB_DROP_BAD_CSUM, 0);
}

/* Told once, however often it is looked at, and forgotten when it is mended. */
static void an_index_that_jumps(void **state)
{
	(void)state;
	g.v.avail->idx = SIZE + 1;
	for (int i = 0; i < 10; i++)
		assert_int_equal(receive(), 0);
	assert_int_equal(g.row.drops[VB_DROP_AVAIL_JUMP], 1);
	assert_int_equal(g.v.used->idx, 0);
	g.v.avail->idx = 0;
	write_frame(DATA + 12, 60);
	guest_desc(&g, 0, DATA, 72, 0, 0);
	guest_offer(&g, 0);
	expect_frame(60);
	g.v.avail->idx = 0; /* backwards */
	assert_int_equal(receive(), 0);
	assert_int_equal(g.row.drops[VB_DROP_AVAIL_JUMP], 2);
}

static void a_burst_with_bad_ones(void **state)
{
	(void)state;
	write_frame(DATA + 12, 60);
	for (int i = 0; i < 8; i++) {
		guest_desc(&g, i, DATA, i % 2 == 0 ? 72 : 5, 0, 0);
		guest_offer(&g, i);
	}
	assert_int_equal(receive(), 4);
	assert_int_equal(g.row.drops[VB_DROP_HEADER_ONLY], 4);
	assert_int_equal(g.row.from_peer_packets, 8);
	assert_int_equal(g.row.from_peer_bytes, 240);
	rte_pktmbuf_free_bulk(pkts, 4);
}

/* ---- to the guest ---- */

static void send(uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_pool);
	uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, len);

	for (uint16_t i = 0; i < len; i++)
		at[i] = (uint8_t)i;
	vhost_ring_send(&g.ring, &g.v, &g.row, &m, 1);
}

static void expect_bytes(uint64_t gpa, uint8_t first, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(*(uint8_t *)guest_at(&g, gpa + i), (uint8_t)(first + i));
}

static void into_one_buffer(void **state)
{
	const struct virtio_net_hdr_mrg_rxbuf *hdr = guest_at(&g, DATA);

	(void)state;
	memset(guest_at(&g, DATA), 0xff, 12);
	guest_desc(&g, 2, DATA, 2048, WRITE, 0);
	guest_offer(&g, 2);
	send(60);
	assert_int_equal(hdr->num_buffers, 1);
	assert_int_equal(hdr->hdr.flags, 0);
	expect_bytes(DATA + 12, 0, 60);
	assert_int_equal(g.v.used->idx, 1);
	assert_int_equal(g.v.used->ring[0].id, 2);
	assert_int_equal(g.v.used->ring[0].len, 72);
	assert_int_equal(g.row.to_peer_packets, 1);
	assert_int_equal(g.row.to_peer_bytes, 60);
}

static void into_many_buffers(void **state)
{
	const struct virtio_net_hdr_mrg_rxbuf *hdr = guest_at(&g, DATA);

	(void)state;
	for (int i = 0; i < 4; i++) {
		guest_desc(&g, i, DATA + i * 0x100, 32, WRITE, 0);
		guest_offer(&g, i);
	}
	send(60);
	assert_int_equal(hdr->num_buffers, 3);
	expect_bytes(DATA + 12, 0, 20);
	expect_bytes(DATA + 0x100, 20, 32);
	expect_bytes(DATA + 0x200, 52, 8);
	assert_int_equal(g.v.used->idx, 3);
	assert_int_equal(g.v.used->ring[2].len, 8);
	/* One buffer is left, too small for the next frame. */
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_RING_FULL], 1);
	assert_int_equal(g.v.used->idx, 3);
}

static void no_buffer(void **state)
{
	(void)state;
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_RING_FULL], 1);
}

static void a_runt_buffer(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 11, WRITE, 0);
	guest_offer(&g, 0);
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_RUNT_BUFFER], 1);
	assert_int_equal(g.v.used->idx, 1);
	assert_int_equal(g.v.used->ring[0].len, 0);
}

static void a_buffer_to_read_from(void **state)
{
	(void)state;
	guest_desc(&g, 0, DATA, 2048, 0, 0);
	guest_offer(&g, 0);
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_DESC_DIRECTION], 1);
}

static void too_small_and_not_mergeable(void **state)
{
	(void)state;
	g.v.mergeable = false;
	guest_desc(&g, 0, DATA, 32, WRITE, 0);
	guest_offer(&g, 0);
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_TOO_BIG], 1);
	assert_int_equal(g.ring.refused, 0);
}

static void a_receive_buffer_outside_memory(void **state)
{
	(void)state;
	guest_desc(&g, 0, END - 20, 2048, WRITE, 0);
	guest_offer(&g, 0);
	send(60);
	assert_int_equal(g.row.drops[VB_DROP_DESC_MEMORY], 1);
}

static void dirty_pages_are_logged(void **state)
{
	uint8_t bits[(END >> 12) / 8 + 1 - (GUEST_BASE >> 15)];
	/* The log begins at page 0; ours shows the guest's part of it. */
	struct vhost_log log = {.bits = (uint8_t *)((uintptr_t)bits - (GUEST_BASE >> 15)),
		.nb_pages = sizeof(bits) * 8 + (GUEST_BASE >> 12)};

	(void)state;
	memset(bits, 0, sizeof(bits));
	g.v.log = &log;
	g.v.log_used = GUEST_BASE + ((uint8_t *)g.v.used - g.first);
	guest_desc(&g, 0, GUEST_BASE + 0x9ff0, 2048, WRITE, 0);
	guest_offer(&g, 0);
	send(60);
	for (uint32_t page = 0; page < (GUEST_SIZE + GUEST_MORE) / 4096; page++)
		assert_int_equal(
			(bits[page / 8] >> page % 8) & 1, page == 0 || page == 9 || page == 0xa);
	/* A log that is too short for the guest is not written beyond. */
	log.nb_pages = (GUEST_BASE >> 12) + 8;
	memset(bits, 0, sizeof(bits));
	guest_offer(&g, 0);
	send(60);
	assert_int_equal(bits[0] & 1, 1);
	assert_int_equal(bits[1], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_offload_passes),
		T(one_descriptor),
		T(header_apart),
		T(the_longest_chain),
		T(an_indirect_table),
		T(a_table_behind_descriptors),
		T(a_buffer_across_two_regions),
		T(a_frame_of_many_buffers),
		T(the_longest_frame),
		T(a_long_frame_is_lent),
		T(a_short_frame_is_not_lent),
		T(what_is_kept_is_no_loan),
		T(without_loans_it_is_copied),
		T(what_others_have_stays_whole),
		T(a_loan_is_passed_on),
		T(indexes_wrap),
		T(kicks_by_flags),
		T(kicks_by_numbers),
		T(wishes_are_logged),
		T(an_index_that_jumped_is_no_work),
		T(next_outside_the_ring),
		T(head_outside_the_ring),
		T(a_circle_of_one),
		T(a_circle_of_empty_ones),
		T(a_circle_in_a_table),
		T(too_many_pieces),
		T(a_table_that_was_not_agreed_on),
		T(a_table_in_a_table),
		T(a_table_and_something_next),
		T(a_table_of_half_a_descriptor),
		T(an_empty_table),
		T(a_table_across_the_end),
		T(next_outside_the_table),
		T(a_buffer_outside_memory),
		T(a_buffer_across_the_end),
		T(a_buffer_that_wraps),
		T(more_bytes_than_can_be),
		T(a_buffer_to_write_to),
		T(a_header_alone),
		T(less_than_a_header),
		T(a_frame_too_long),
		T(segmentation_unasked),
		T(a_checksum_unasked),
		T(a_checksum_of_no_such_frame),
		T(an_index_that_jumps),
		T(a_burst_with_bad_ones),
		T(into_one_buffer),
		T(into_many_buffers),
		T(no_buffer),
		T(a_runt_buffer),
		T(a_buffer_to_read_from),
		T(too_small_and_not_mergeable),
		T(a_receive_buffer_outside_memory),
		T(dirty_pages_are_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
