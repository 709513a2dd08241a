/* SPDX-License-Identifier: Apache-2.0
 *
 * Checksums and segmentation: what of a guest's wishes is taken, and frames finished in
 * software, byte by byte.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#include "core/finish.h"
#include "core/pool.h"
#include "tcp_frame.h"

#define FIN 0x01
#define PSH 0x08
#define ACK 0x10
#define CWR 0x80

static struct vb_counters row;

static int setup(void **state)
{
	(void)state;
	harness_start(1);
	memset(&row, 0, sizeof(row));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return harness_in_use() == 0 ? 0 : -1;
}

/* ---- what is taken ---- */

/* A frame and its header, to be spoilt. */
struct attempt {
	struct tcp_frame frame;
	uint16_t size; /* of segments */
	uint8_t agreed;
	struct rte_mbuf *m;
	uint8_t *p;
	struct virtio_net_hdr hdr;
};

static const struct attempt tso = {
	.frame = {.version = 4, .payload = 5000, .tcp_options = 12},
	.size = 1000,
	.agreed = VB_OFFLOAD_ALL,
};

static void attempt_make(struct attempt *a)
{
	a->m = tcp_frame_make(&a->frame);
	a->p = rte_pktmbuf_mtod(a->m, uint8_t *);
	a->hdr = tcp_frame_header(&a->frame, a->size);
}

static enum vb_drop attempt_take(struct attempt *a)
{
	enum vb_drop why = vb_offload_take(a->m, &a->hdr, a->agreed);

	assert_int_equal((a->m->ol_flags & vb_offload_flag) != 0, why == VB_OFFLOAD_OK);
	rte_pktmbuf_free(a->m);
	return why;
}

static void cut_to(struct attempt *a, uint32_t len)
{
	assert_true(len <= a->m->data_len);
	rte_pktmbuf_free(a->m->next);
	a->m->next = NULL;
	a->m->nb_segs = 1;
	a->m->data_len = a->m->pkt_len = len;
}

/* Before the frame is made. */
static void version_6(struct attempt *a)
{
	a->frame.version = 6;
}

static void an_extension_header(struct attempt *a)
{
	a->frame.version = 6;
	a->frame.ip_options = 16;
}

static void options_without_end(struct attempt *a)
{
	a->frame.version = 6;
	a->frame.ip_options = 248;
}

static void udp(struct attempt *a)
{
	a->frame.udp = true;
	a->frame.tcp_options = 0;
	a->size = 0;
}

static void checksum_only(struct attempt *a)
{
	a->size = 0;
}

static void three_tags(struct attempt *a)
{
	a->frame.tags = 3;
}

static void head_in_two_mbufs(struct attempt *a)
{
	a->frame.head = tcp_frame_payload(&a->frame) - 1;
}

static void as_long_as_can_be(struct attempt *a)
{
	a->frame.version = 6;
	a->frame.tcp_options = 0;
	a->frame.payload = 65535 - 20;
	a->size = 65535 - 60 + 1;
}

/* After it. */
static void no_tso(struct attempt *a)
{
	a->agreed = VB_OFFLOAD_CSUM | VB_OFFLOAD_TSO6;
}

static void no_tso6(struct attempt *a)
{
	a->agreed = VB_OFFLOAD_CSUM | VB_OFFLOAD_TSO4;
}

static void no_checksums(struct attempt *a)
{
	a->agreed = VB_OFFLOAD_TSO4;
}

static void nothing_agreed(struct attempt *a)
{
	a->agreed = 0;
}

static void type_of_udp(struct attempt *a)
{
	a->hdr.gso_type = VIRTIO_NET_HDR_GSO_UDP;
}

static void type_unknown(struct attempt *a)
{
	a->hdr.gso_type = 2;
}

static void with_ecn(struct attempt *a)
{
	a->hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
}

static void type_of_the_other(struct attempt *a)
{
	a->hdr.gso_type =
		a->frame.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

static void type_of_tcp(struct attempt *a)
{
	a->hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	a->hdr.gso_size = 1000;
}

static void without_a_checksum(struct attempt *a)
{
	a->hdr.flags = 0;
}

static void size_0(struct attempt *a)
{
	a->hdr.gso_size = 0;
}

static void size_too_small(struct attempt *a)
{
	a->hdr.gso_size = a->frame.payload / (VB_OFFLOAD_SEGMENTS_MAX + 1);
}

static void start_0(struct attempt *a)
{
	a->hdr.csum_start = 0;
}

static void start_a_word_early(struct attempt *a)
{
	a->hdr.csum_start -= 2;
	a->hdr.csum_offset += 2;
}

static void start_outside(struct attempt *a)
{
	a->hdr.csum_start = a->m->pkt_len;
}

static void start_at_the_end_of_numbers(struct attempt *a)
{
	a->hdr.csum_start = 65535;
	a->hdr.csum_offset = 65535;
}

static void field_in_an_address(struct attempt *a)
{
	a->hdr.csum_start = 14;
	a->hdr.csum_offset = 12;
}

static void field_of_udp(struct attempt *a)
{
	a->hdr.csum_offset = 6;
}

static void field_of_tcp(struct attempt *a)
{
	a->hdr.csum_offset = 16;
}

static void ethernet_cut(struct attempt *a)
{
	cut_to(a, 13);
}

static void tag_cut(struct attempt *a)
{
	memcpy(a->p + 12, "\x81\x00", 2);
	cut_to(a, 17);
}

static void ip_cut(struct attempt *a)
{
	cut_to(a, tcp_frame_l4(&a->frame) - 1);
}

static void tcp_cut(struct attempt *a)
{
	cut_to(a, tcp_frame_l4(&a->frame) + 19);
}

static void tcp_options_cut(struct attempt *a)
{
	cut_to(a, tcp_frame_payload(&a->frame) - 1);
}

static void udp_cut(struct attempt *a)
{
	cut_to(a, tcp_frame_l4(&a->frame) + 7);
}

static void extension_cut(struct attempt *a)
{
	cut_to(a, tcp_frame_ip(&a->frame) + 47);
}

static void ip_header_too_short(struct attempt *a)
{
	a->p[14] = 0x44;
}

static void ip_header_too_long(struct attempt *a)
{
	a->p[14] = 0x4f;
	cut_to(a, tcp_frame_ip(&a->frame) + 59);
}

static void tcp_header_too_short(struct attempt *a)
{
	a->p[tcp_frame_l4(&a->frame) + 12] = 0x40;
}

static void version_wrong(struct attempt *a)
{
	a->p[14] ^= 0x20;
}

static void type_wrong(struct attempt *a)
{
	memcpy(a->p + 12, "\x08\x06", 2);
}

static void protocol_wrong(struct attempt *a)
{
	a->p[14 + 9] = 1;
}

static void a_first_fragment(struct attempt *a)
{
	a->p[14 + 6] |= 0x20;
}

static void a_later_fragment(struct attempt *a)
{
	a->p[14 + 7] |= 1;
}

static void a_fragment_header(struct attempt *a)
{
	a->p[14 + 6] = 44;
}

static void nine_extension_headers(struct attempt *a)
{
	uint8_t *h = a->p + 14 + 40;

	a->p[14 + 6] = 60;
	for (int i = 0; i < 9; i++)
		h[i * 8] = 60, h[i * 8 + 1] = 0;
	h[64] = 6;
	a->hdr.csum_start = 14 + 40 + 72;
}

#define GSO VB_DROP_BAD_GSO
#define CSUM VB_DROP_BAD_CSUM

static const struct {
	const char *name;
	void (*before)(struct attempt *a);
	void (*spoil)(struct attempt *a);
	enum vb_drop why;
} refusals[] = {
	{"segmentation not agreed on", NULL, no_tso, GSO},
	{"segmentation of IPv6 not agreed on", version_6, no_tso6, GSO},
	{"nothing agreed on", NULL, nothing_agreed, GSO},
	{"segmentation without checksums agreed on", NULL, no_checksums, CSUM},
	{"checksum not agreed on", checksum_only, nothing_agreed, CSUM},
	{"UDP fragmentation", NULL, type_of_udp, GSO},
	{"an unknown type", NULL, type_unknown, GSO},
	{"ECN", NULL, with_ecn, GSO},
	{"IPv6's type for IPv4", NULL, type_of_the_other, GSO},
	{"IPv4's type for IPv6", version_6, type_of_the_other, GSO},
	{"TCP's type for UDP", udp, type_of_tcp, GSO},
	{"segments without checksums", NULL, without_a_checksum, GSO},
	{"segments of no bytes", NULL, size_0, GSO},
	{"too many segments", NULL, size_too_small, GSO},
	{"segments longer than IP can say", as_long_as_can_be, NULL, GSO},
	{"sum from the start", NULL, start_0, CSUM},
	{"sum from somewhere else", NULL, start_a_word_early, CSUM},
	{"sum from the frame's end on", NULL, start_outside, CSUM},
	{"sum from 65535 on", NULL, start_at_the_end_of_numbers, CSUM},
	{"field in an address", checksum_only, field_in_an_address, CSUM},
	{"UDP's field for TCP", NULL, field_of_udp, CSUM},
	{"TCP's field for UDP", udp, field_of_tcp, CSUM},
	{"Ethernet header cut short", NULL, ethernet_cut, GSO},
	{"tag cut short", NULL, tag_cut, GSO},
	{"three tags", three_tags, NULL, GSO},
	{"IPv4 header cut short", NULL, ip_cut, GSO},
	{"IPv6 header cut short", version_6, ip_cut, GSO},
	{"extension header cut short", an_extension_header, extension_cut, GSO},
	{"headers longer than anybody's", options_without_end, NULL, GSO},
	{"nine extension headers", version_6, nine_extension_headers, GSO},
	{"a fragment header", version_6, a_fragment_header, GSO},
	{"IP header too short", NULL, ip_header_too_short, GSO},
	{"IP header longer than it is", NULL, ip_header_too_long, GSO},
	{"IPv4 of version 6", NULL, version_wrong, GSO},
	{"IPv6 of version 4", version_6, version_wrong, GSO},
	{"TCP header cut short", NULL, tcp_cut, GSO},
	{"TCP options cut short", NULL, tcp_options_cut, GSO},
	{"TCP header too short", NULL, tcp_header_too_short, GSO},
	{"TCP header in two mbufs", head_in_two_mbufs, NULL, GSO},
	{"UDP header cut short", udp, udp_cut, CSUM},
	{"not IP", checksum_only, type_wrong, CSUM},
	{"not TCP", NULL, protocol_wrong, GSO},
	{"a first fragment", NULL, a_first_fragment, GSO},
	{"a later fragment", checksum_only, a_later_fragment, CSUM},
};

static void wishes_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(refusals); i++) {
		struct attempt a = tso;
		enum vb_drop why;

		if (refusals[i].before != NULL)
			refusals[i].before(&a);
		attempt_make(&a);
		if (refusals[i].spoil != NULL)
			refusals[i].spoil(&a);
		why = attempt_take(&a);
		if (why != refusals[i].why)
			fail_msg("%s: %u, not %u", refusals[i].name, why, refusals[i].why);
	}
}

static void no_wish_is_no_offload(void **state)
{
	struct attempt a = tso;

	(void)state;
	attempt_make(&a);
	/* Without flag and type the other numbers say nothing. */
	memset(&a.hdr, 0xff, sizeof(a.hdr));
	a.hdr.flags = (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
	a.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	assert_int_equal(vb_offload_take(a.m, &a.hdr, 0), VB_OFFLOAD_OK);
	assert_false(vb_offload_any(&a.m, 1));
	rte_pktmbuf_free(a.m);
}

static void a_header_comes_out_as_it_went_in(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct attempt a = tso;
		struct virtio_net_hdr hdr = {0};
		uint16_t hdr_len;

		a.frame.version = i & 1 ? 6 : 4;
		a.frame.tags = i & 2 ? 2 : 0;
		a.size = i & 4 ? 1000 : 0;
		attempt_make(&a);
		hdr_len = a.hdr.hdr_len;
		a.hdr.hdr_len = 65535; /* nobody reads it */
		assert_int_equal(vb_offload_take(a.m, &a.hdr, VB_OFFLOAD_ALL), VB_OFFLOAD_OK);
		vb_offload_put(a.m, &hdr);
		a.hdr.hdr_len = a.size > 0 ? hdr_len : 0;
		assert_memory_equal(&hdr, &a.hdr, sizeof(hdr));
		assert_int_equal(vb_offload_frame_len(a.m),
			a.size > 0 ? tcp_frame_payload(&a.frame) + 1000u : a.m->pkt_len);
		rte_pktmbuf_free(a.m);
	}
}

/* As drivers have it: legal, and there is nothing to cut. */
static void one_segment_is_a_checksum(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 1000};
	struct virtio_net_hdr hdr = {0};
	struct rte_mbuf *m = tcp_frame_offload(&f, 1000);

	(void)state;
	vb_offload_put(m, &hdr);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_true(vb_offload_suits(m, VB_OFFLOAD_CSUM));
	assert_false(vb_offload_suits(m, 0));
	rte_pktmbuf_free(m);
}

/* A header of zeros stays one. */
static void a_plain_packet_puts_nothing(void **state)
{
	static const struct virtio_net_hdr zeros;
	struct virtio_net_hdr hdr = {0};
	struct rte_mbuf *m = tcp_frame_offload(&tso.frame, 1000);

	(void)state;
	/* What its buffer was used for before is forgotten. */
	rte_pktmbuf_free(m);
	m = harness_frame(1, 2, 60);
	vb_offload_put(m, &hdr);
	assert_memory_equal(&hdr, &zeros, sizeof(hdr));
	assert_true(vb_offload_suits(m, 0));
	assert_int_equal(vb_offload_frame_len(m), 60);
	rte_pktmbuf_free(m);
}

static void a_segments_receiver_must_know_its_kind(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		const struct tcp_frame f = {.version = version, .payload = 3000};
		uint8_t mine = version == 4 ? VB_OFFLOAD_TSO4 : VB_OFFLOAD_TSO6;

		m = tcp_frame_offload(&f, 1000);
		for (int able = 0; able <= VB_OFFLOAD_ALL; able++)
			assert_int_equal(vb_offload_suits(m, able),
				(able & VB_OFFLOAD_CSUM) != 0 && (able & mine) != 0);
		rte_pktmbuf_free(m);
	}
}

/* ---- finished ---- */

/* Finish m and check all that becomes of it; returns how many frames that is. */
static uint32_t finish_all(
	const struct tcp_frame *f, struct rte_mbuf *m, uint16_t size, uint8_t able)
{
	struct vb_finish finish;
	uint32_t done = 0, n = 0;

	vb_finish_begin(&finish, &row, m, able);
	while ((m = vb_finish_next(&finish, &row)) != NULL) {
		done += tcp_frame_check_mbuf(f, m, done, size);
		n++;
	}
	assert_int_equal(done, f->payload);
	return n;
}

static void checksums(void **state)
{
	static const uint32_t heads[] = {0, 128, 129, 141}, pieces[] = {0, 1, 7, 64, 333};
	struct tcp_frame f = {.id = 1};

	(void)state;
	for (int i = 0; i < 1600; i++) {
		f.version = i & 1 ? 6 : 4;
		f.udp = i & 2;
		f.tags = i / 4 % 3;
		f.ip_options = i % 5 == 0 ? 8 : 0;
		f.payload = 1 + i * 3 % 1500;
		f.head = heads[i / 7 % RTE_DIM(heads)];
		f.piece = pieces[i / 11 % RTE_DIM(pieces)];
		if (f.piece == 1)
			f.payload = RTE_MIN(f.payload, 300u);
		assert_int_equal(finish_all(&f, tcp_frame_offload(&f, 0), 0, 0), 1);
	}
	assert_int_equal(row.made_packets, 0);
}

/* The sum that UDP must not write as zero. */
static void a_checksum_of_zero(void **state)
{
	const struct tcp_frame f = {.version = 4, .udp = true, .payload = 2};
	struct rte_mbuf *m = tcp_frame_offload(&f, 0);
	uint8_t *field = rte_pktmbuf_mtod_offset(m, uint8_t *, tcp_frame_l4(&f) + 6);
	struct vb_finish finish;
	uint32_t sum = 0;

	(void)state;
	/* Have all that is summed up, the field with it, be 0xffff. */
	memset(field, 0, 2);
	for (uint32_t i = tcp_frame_l4(&f); i < m->pkt_len; i += 2)
		sum += rte_pktmbuf_mtod(m, uint8_t *)[i] << 8 |
		       rte_pktmbuf_mtod(m, uint8_t *)[i + 1];
	sum = 0xffff - ((sum & 0xffff) + (sum >> 16));
	field[0] = sum >> 8;
	field[1] = sum;
	vb_finish_begin(&finish, &row, m, 0);
	m = vb_finish_next(&finish, &row);
	assert_memory_equal(field, "\xff\xff", 2);
	rte_pktmbuf_free(m);
}

static void segments(void **state)
{
	static const uint32_t payloads[] = {2, 1449, 2896, 5000, 9001, 30000, 65400};
	static const uint16_t sizes[] = {1, 64, 511, 536, 1448, 1447, 4000, 8948, 30001};
	struct tcp_frame f = {.id = 65530, .seq = 0xfffffff0, .flags = ACK | PSH | FIN | CWR};
	uint64_t made = 0, n = 0;

	(void)state;
	for (size_t p = 0; p < RTE_DIM(payloads); p++)
		for (size_t s = 0; s < RTE_DIM(sizes); s++, n++) {
			uint32_t want = (payloads[p] + sizes[s] - 1) / sizes[s];

			if (want < 2 || want > VB_OFFLOAD_SEGMENTS_MAX)
				continue;
			f.payload = payloads[p];
			f.version = n % 2 ? 4 : 6;
			f.tags = n % 3;
			f.ip_options = n % 4 == 0 ? 8 : 0;
			f.tcp_options = n % 5 == 0 ? 40 : 12;
			f.head = n % 3 == 0 ? 0 : 200 + n % 57;
			f.piece = n % 4 < 2 ? 0 : 100 + n;
			made += want - 1;
			assert_int_equal(
				finish_all(&f, tcp_frame_offload(&f, sizes[s]), sizes[s], 0),
				want);
			assert_int_equal(row.made_packets, made);
		}
}

/* As many as there may be. */
static void the_most_segments(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 10 * VB_OFFLOAD_SEGMENTS_MAX};

	(void)state;
	assert_int_equal(
		finish_all(&f, tcp_frame_offload(&f, 10), 10, 0), VB_OFFLOAD_SEGMENTS_MAX);
}

/* With no bytes in some of them. */
static void empty_mbufs(void **state)
{
	const struct tcp_frame f = {.version = 6, .payload = 5000, .head = 200, .piece = 500};

	(void)state;
	for (uint16_t size = 0; size <= 1000; size += 1000) {
		struct rte_mbuf *m = tcp_frame_offload(&f, size), *none;

		for (struct rte_mbuf *at = m; at != NULL; at = none->next) {
			none = rte_pktmbuf_alloc(vb_pool);
			none->next = at->next;
			at->next = none;
			m->nb_segs++;
		}
		assert_int_equal(finish_all(&f, m, size, 0), size == 0 ? 1 : 5);
	}
}

static void who_can_gets_it_as_it_is(void **state)
{
	const struct tcp_frame f = {.version = 6, .payload = 5000};
	struct rte_mbuf *m = tcp_frame_offload(&f, 1000);
	struct vb_finish finish;

	(void)state;
	vb_finish_begin(&finish, &row, m, VB_OFFLOAD_CSUM | VB_OFFLOAD_TSO6);
	assert_ptr_equal(vb_finish_next(&finish, &row), m);
	assert_null(vb_finish_next(&finish, &row));
	assert_int_equal(row.made_packets, 0);
	assert_true(vb_offload_any(&m, 1));
	/* One that knows checksums only has them all filled in. */
	vb_finish_begin(&finish, &row, m, VB_OFFLOAD_CSUM | VB_OFFLOAD_TSO4);
	tcp_frame_check_mbuf(&f, vb_finish_next(&finish, &row), 0, 1000);
	vb_finish_drop(&finish, &row, VB_DROP_NO_PEER);
	assert_int_equal(row.drops[VB_DROP_NO_PEER], 4);
	assert_int_equal(row.made_packets, 4);
	vb_finish_drop(&finish, &row, VB_DROP_NO_PEER);
	assert_int_equal(row.drops[VB_DROP_NO_PEER], 4);
}

/* ---- shared ---- */

static void a_shared_packet_is_not_written_into(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 3000, .head = 300, .piece = 900};

	(void)state;
	for (uint16_t size = 0; size <= 1000; size += 1000) {
		struct rte_mbuf *m = tcp_frame_offload(&f, size);
		uint8_t before[4096], after[4096];
		const uint32_t len = m->pkt_len;

		memcpy(before, rte_pktmbuf_read(m, 0, len, before), 300);
		rte_pktmbuf_refcnt_update(m, 1);
		finish_all(&f, m, size, 0);
		assert_int_equal(rte_mbuf_refcnt_read(m), 1);
		assert_true(vb_offload_any(&m, 1));
		memcpy(after, rte_pktmbuf_read(m, 0, len, after), 300);
		assert_memory_equal(after, before, len);
		/* The other one's comes out the same. */
		finish_all(&f, m, size, 0);
	}
}

static void a_packet_that_nobody_shares_is_not_copied(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 3000};
	struct rte_mbuf *m = tcp_frame_offload(&f, 0);
	struct vb_finish finish;

	(void)state;
	vb_finish_begin(&finish, &row, m, 0);
	assert_ptr_equal(vb_finish_next(&finish, &row), m);
	rte_pktmbuf_free(m);
}

static void a_copy_has_what_is_to_be_done(void **state)
{
	const struct tcp_frame f = {.version = 6, .payload = 5000};

	(void)state;
	assert_int_equal(finish_all(&f, vb_copy(&row, tcp_frame_offload(&f, 1000)), 1000, 0), 5);
	assert_int_equal(finish_all(&f, vb_copy(&row, tcp_frame_offload(&f, 0)), 0, 0), 1);
}

/* ---- no buffers ---- */

static struct rte_mbuf *hoard[8192];

/* Leave so many in the pool. */
static uint32_t take_all_but(uint32_t left)
{
	uint32_t n = 0;

	while ((hoard[n] = rte_pktmbuf_alloc(vb_pool)) != NULL)
		assert_true(++n < RTE_DIM(hoard));
	for (; left > 0; left--)
		rte_pktmbuf_free(hoard[--n]);
	return n;
}

static void without_buffers_the_rest_is_dropped(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 50000};

	(void)state;
	/* Segments of three mbufs each: one or two are no good. */
	for (uint32_t left = 0; left < 8; left++) {
		struct rte_mbuf *m = tcp_frame_offload(&f, 5000), *frames[10];
		uint32_t held, done = 0, n = 0;
		struct vb_finish finish;

		memset(&row, 0, sizeof(row));
		held = take_all_but(left);
		vb_finish_begin(&finish, &row, m, 0);
		while ((m = vb_finish_next(&finish, &row)) != NULL)
			frames[n++] = m;
		rte_pktmbuf_free_bulk(hoard, held);
		assert_int_equal(n, left / 3);
		for (uint32_t i = 0; i < n; i++)
			done += tcp_frame_check_mbuf(&f, frames[i], done, 5000);
		assert_int_equal(row.made_packets, 9);
		assert_int_equal(row.drops[VB_DROP_NO_BUFFER], 10 - n);
		assert_int_equal(harness_in_use(), 0);
	}
}

static void without_a_buffer_a_shared_packet_is_dropped(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 1000};
	struct rte_mbuf *m = tcp_frame_offload(&f, 0);
	uint32_t held = take_all_but(0);
	struct vb_finish finish;

	(void)state;
	rte_mbuf_refcnt_update(m, 1);
	vb_finish_begin(&finish, &row, m, 0);
	assert_null(vb_finish_next(&finish, &row));
	assert_int_equal(row.drops[VB_DROP_NO_BUFFER], 1);
	rte_pktmbuf_free_bulk(hoard, held);
	assert_int_equal(finish_all(&f, m, 0, 0), 1);
}

/* ---- bursts ---- */

struct got {
	uint32_t bursts, n;
	struct rte_mbuf *pkts[512];
};

static void emit(void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	struct got *got = arg;

	assert_in_range(n, 1, VB_BURST);
	got->bursts++;
	for (uint16_t i = 0; i < n; i++)
		got->pkts[got->n++] = pkts[i];
}

static void a_burst_comes_out_in_order_and_in_bursts(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 60000};
	struct rte_mbuf *pkts[4];
	static struct got got;
	uint32_t i = 1, done;

	(void)state;
	pkts[0] = harness_frame(1, 1, 60);
	pkts[1] = tcp_frame_offload(&f, 1000);
	pkts[2] = harness_frame(1, 2, 60);
	pkts[3] = tcp_frame_offload(&f, 2000);
	vb_finish_burst(&row, pkts, 4, 0, emit, &got);
	assert_int_equal(got.n, 1 + 60 + 1 + 30);
	assert_int_equal(got.bursts, 3);
	assert_ptr_equal(got.pkts[0], pkts[0]);
	assert_ptr_equal(got.pkts[61], pkts[2]);
	for (done = 0; done < f.payload; i++)
		done += tcp_frame_check_mbuf(&f, got.pkts[i], done, 1000);
	i++;
	for (done = 0; done < f.payload; i++)
		done += tcp_frame_check_mbuf(&f, got.pkts[i], done, 2000);
	rte_pktmbuf_free(pkts[0]);
	rte_pktmbuf_free(pkts[2]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wishes_that_do_not_fit_are_refused),
		T(no_wish_is_no_offload),
		T(a_header_comes_out_as_it_went_in),
		T(one_segment_is_a_checksum),
		T(a_plain_packet_puts_nothing),
		T(a_segments_receiver_must_know_its_kind),
		T(checksums),
		T(a_checksum_of_zero),
		T(segments),
		T(the_most_segments),
		T(empty_mbufs),
		T(who_can_gets_it_as_it_is),
		T(a_shared_packet_is_not_written_into),
		T(a_packet_that_nobody_shares_is_not_copied),
		T(a_copy_has_what_is_to_be_done),
		T(without_buffers_the_rest_is_dropped),
		T(without_a_buffer_a_shared_packet_is_dropped),
		T(a_burst_comes_out_in_order_and_in_bursts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
