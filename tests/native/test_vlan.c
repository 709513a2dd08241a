/* SPDX-License-Identifier: Apache-2.0
 *
 * The trunk: packet by packet, then with workers that never pause.
 */
#include "harness.h"

#include <errno.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "bricks/neigh.h"
#include "core/offload.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "tcp_frame.h"

#define NB 3 /* networks */
#define FLAT 0
#define LEN 60

static const uint16_t vids[NB] = {0, 10, 4094};

static struct vb_brick *trunk;
static struct sink device, networks[NB];

static int setup(void **state)
{
	static const char *const names[NB] = {"network/flat", "network/10", "network/4094"};

	(void)state;
	harness_start(2);
	assert_int_equal(vb_vlan_create("trunk/t", &trunk), 0);
	sink_create(&device, "device");
	join(device.brick, trunk);
	for (int i = 0; i < NB; i++) {
		sink_create(&networks[i], names[i]);
		assert_int_equal(vb_vlan_join(trunk, vids[i], networks[i].brick), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < NB; i++) {
		vb_vlan_leave(trunk, vids[i]);
		assert_int_equal(vb_brick_destroy(networks[i].brick), 0);
	}
	assert_int_equal(vb_brick_destroy(device.brick), 0);
	assert_int_equal(vb_brick_destroy(trunk), 0);
	return harness_in_use();
}

static uint64_t dropped(enum vb_drop why)
{
	struct vb_stats stats;

	vb_brick_stats(trunk, &stats);
	return stats.drops[why];
}

static void fill(uint8_t *p, uint16_t len)
{
	for (uint16_t i = 12; i < len; i++)
		p[i] = i * 5;
	p[12] = 0x08;
	p[13] = 0x00;
}

/* A frame from 02:...:src, its bytes known. */
static struct rte_mbuf *plain(uint8_t src)
{
	struct rte_mbuf *m = harness_frame(9, src, LEN);

	fill(rte_pktmbuf_mtod(m, uint8_t *), LEN);
	return m;
}

static struct rte_mbuf *tagged(uint8_t src, uint16_t tpid, uint16_t tci)
{
	struct rte_mbuf *m = plain(src);
	uint8_t *p = (uint8_t *)rte_pktmbuf_prepend(m, 4);
	const uint8_t tag[] = {tpid >> 8, tpid & 0xff, tci >> 8, tci & 0xff};

	memmove(p, p + 4, 12);
	memcpy(p + 12, tag, sizeof(tag));
	return m;
}

/* Whether got has the very bytes of want; frees want. */
static void assert_same(struct rte_mbuf *got, struct rte_mbuf *want)
{
	uint8_t a[256], b[256];

	assert_int_equal(got->pkt_len, want->pkt_len);
	assert_memory_equal(rte_pktmbuf_read(got, 0, got->pkt_len, a),
		rte_pktmbuf_read(want, 0, want->pkt_len, b), want->pkt_len);
	rte_pktmbuf_free(want);
}

static void from_device(struct rte_mbuf *m)
{
	push_into(trunk, 0, &m, 1);
}

static void from_network(int network, struct rte_mbuf *m)
{
	push_into(trunk, networks[network].brick->edges[0].peer_index, &m, 1);
}

static void assert_silence(void)
{
	assert_int_equal(device.nb_got, 0);
	for (int i = 0; i < NB; i++)
		assert_int_equal(networks[i].nb_got, 0);
}

static void a_tag_from_the_wire_names_the_network(void **state)
{
	(void)state;
	for (int i = 1; i < NB; i++) {
		/* Priority and drop eligibility are not part of the VID. */
		from_device(tagged(1, 0x8100, 0xf000 | vids[i]));
		assert_int_equal(networks[i].nb_got, 1);
		assert_same(networks[i].got[0], plain(1));
		sink_empty(&networks[i]);
		assert_silence();
	}
}

static void what_has_no_vid_is_the_untagged_networks(void **state)
{
	(void)state;
	from_device(plain(1));
	from_device(tagged(2, 0x8100, 0xa000)); /* priority-tagged */
	assert_int_equal(networks[FLAT].nb_got, 2);
	assert_same(networks[FLAT].got[0], plain(1));
	assert_same(networks[FLAT].got[1], plain(2));
	sink_empty(&networks[FLAT]);
	assert_silence();
}

static void only_the_outer_tag_is_popped(void **state)
{
	struct rte_mbuf *m = tagged(1, 0x8100, 77);
	uint8_t *p = (uint8_t *)rte_pktmbuf_prepend(m, 4);

	(void)state;
	memmove(p, p + 4, 12);
	memcpy(p + 12, "\x81\x00\x00\x0a", 4);
	from_device(m);
	assert_int_equal(networks[1].nb_got, 1);
	assert_same(networks[1].got[0], tagged(1, 0x8100, 77));
	sink_empty(&networks[1]);
	assert_silence();
}

static void frames_of_nobodys_vlan_are_dropped(void **state)
{
	(void)state;
	from_device(tagged(1, 0x8100, 11));
	from_device(tagged(1, 0x8100, 4095));
	from_device(tagged(1, 0x88a8, 10)); /* a service tag, not ours */
	assert_int_equal(dropped(VB_DROP_NO_VLAN), 3);
	assert_int_equal(vb_vlan_leave(trunk, 0), 0);
	from_device(plain(1));
	assert_int_equal(dropped(VB_DROP_NO_VLAN), 4);
	assert_silence();
}

static void the_networks_tag_is_pushed(void **state)
{
	(void)state;
	from_network(1, plain(1));
	from_network(2, plain(2));
	assert_int_equal(device.nb_got, 2);
	assert_same(device.got[0], tagged(1, 0x8100, 10));
	assert_same(device.got[1], tagged(2, 0x8100, 4094));
	sink_empty(&device);
	assert_silence();
}

static void the_untagged_network_stays_untagged(void **state)
{
	(void)state;
	from_network(FLAT, plain(1));
	assert_int_equal(device.nb_got, 1);
	assert_same(device.got[0], plain(1));
	sink_empty(&device);

	/* Its guests must not choose a VLAN of the wire. */
	from_network(FLAT, tagged(1, 0x8100, 10));
	from_network(FLAT, tagged(1, 0x8100, 0));
	from_network(FLAT, tagged(1, 0x88a8, 10));
	assert_int_equal(dropped(VB_DROP_TAGGED), 3);
	assert_silence();
}

static void a_guests_tag_stays_under_its_networks(void **state)
{
	struct rte_mbuf *got;

	(void)state;
	from_network(1, tagged(1, 0x8100, 4094));
	from_network(1, tagged(1, 0x88a8, 4094));
	assert_int_equal(device.nb_got, 2);
	for (int i = 0; i < 2; i++) {
		got = device.got[i];
		assert_int_equal(got->pkt_len, LEN + 8);
		assert_memory_equal(
			rte_pktmbuf_mtod_offset(got, char *, 12), "\x81\x00\x00\x0a", 4);
		assert_memory_equal(rte_pktmbuf_mtod_offset(got, char *, 16),
			i == 0 ? "\x81\x00\x0f\xfe" : "\x88\xa8\x0f\xfe", 4);
	}
	sink_empty(&device);
	assert_silence();
}

static void short_frames_are_dropped(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	from_device(harness_frame(2, 1, 13));
	for (uint16_t len = 14; len < 18; len++) { /* a tag that is cut off */
		m = harness_frame(2, 1, len);
		memcpy(rte_pktmbuf_mtod_offset(m, char *, 12), "\x81\x00", 2);
		from_device(m);
	}
	for (int i = 0; i < NB; i++)
		from_network(i, harness_frame(2, 1, 13));
	assert_int_equal(dropped(VB_DROP_TOO_SHORT), 8);
	assert_silence();
}

/* What the switch does when it floods: the other receivers must see no change. */
static void a_shared_packet_is_copied(void **state)
{
	struct rte_mbuf *in = plain(1);

	(void)state;
	rte_mbuf_refcnt_update(in, 2);
	from_network(1, in);
	from_network(2, in);
	assert_same(in, plain(1));
	assert_int_equal(rte_mbuf_refcnt_read(in), 1);
	assert_same(device.got[0], tagged(1, 0x8100, 10));
	assert_same(device.got[1], tagged(1, 0x8100, 4094));
	rte_pktmbuf_free(in);
	sink_empty(&device);

	in = tagged(1, 0x8100, 10);
	rte_mbuf_refcnt_update(in, 1);
	from_device(in);
	assert_same(networks[1].got[0], plain(1));
	assert_same(in, tagged(1, 0x8100, 10));
	rte_pktmbuf_free(in);
	sink_empty(&networks[1]);
	assert_silence();
}

static void a_packet_that_nobody_shares_is_not_copied(void **state)
{
	struct rte_mbuf *in = plain(1);

	(void)state;
	from_network(1, in);
	assert_ptr_equal(device.got[0], in);
	from_device(in);
	assert_ptr_equal(networks[1].got[0], in);
	assert_same(in, plain(1));
	device.nb_got = 0;
	sink_empty(&networks[1]);
}

/* Others may read the bytes, although nobody else holds this mbuf; and no room for a tag. */
static void what_cannot_be_written_in_place_is_copied(void **state)
{
	struct rte_mbuf *whole = plain(1), *clone = rte_pktmbuf_clone(whole, vb_pool);

	(void)state;
	from_network(1, clone);
	assert_same(whole, plain(1));
	assert_same(device.got[0], tagged(1, 0x8100, 10));
	sink_empty(&device);

	assert_non_null(rte_pktmbuf_prepend(whole, rte_pktmbuf_headroom(whole)));
	fill(memset(rte_pktmbuf_mtod(whole, uint8_t *), 2, 12), whole->data_len);
	from_network(1, whole);
	assert_int_equal(device.got[0]->pkt_len, LEN + RTE_PKTMBUF_HEADROOM + 4);
	assert_memory_equal(
		rte_pktmbuf_mtod_offset(device.got[0], char *, 12), "\x81\x00\x00\x0a\x08\x00", 6);
	sink_empty(&device);
}

/* A checksum that a guest left to us is where it was, counted from the frame's start. */
static void what_is_to_be_done_moves_with_the_tag(void **state)
{
	struct tcp_frame f = {.version = 4, .payload = 3000};
	struct virtio_net_hdr inside = {0}, outside = {0};

	(void)state;
	from_network(1, tcp_frame_offload(&f, 1000));
	assert_int_equal(device.nb_got, 1);
	vb_offload_put(device.got[0], &outside);
	f.tags = 1;
	inside = tcp_frame_header(&f, 1000);
	assert_memory_equal(&outside, &inside, sizeof(outside));
	from_device(device.got[0]);
	device.nb_got = 0;
	assert_int_equal(networks[1].nb_got, 1);
	vb_offload_put(networks[1].got[0], &inside);
	f.tags = 0;
	outside = tcp_frame_header(&f, 1000);
	assert_memory_equal(&inside, &outside, sizeof(outside));
	sink_empty(&networks[1]);
}

static void without_a_buffer_a_shared_packet_is_dropped(void **state)
{
	struct rte_mbuf *in = plain(1), *hoard = NULL, *m;

	(void)state;
	while ((m = rte_pktmbuf_alloc(vb_pool)) != NULL) {
		m->next = hoard;
		hoard = m;
	}
	rte_mbuf_refcnt_update(in, 1);
	from_network(1, in);
	for (; hoard != NULL; hoard = m) {
		m = hoard->next;
		hoard->next = NULL;
		rte_pktmbuf_free(hoard);
	}
	assert_int_equal(dropped(VB_DROP_NO_BUFFER), 1);
	assert_int_equal(rte_mbuf_refcnt_read(in), 1);
	rte_pktmbuf_free(in);
	assert_silence();
}

static void a_burst_keeps_each_networks_order(void **state)
{
	struct rte_mbuf *pkts[VB_BURST], *m;
	uint16_t next[NB] = {0};

	(void)state;
	for (int i = 0; i < VB_BURST; i++)
		pkts[i] = i % 4 == 3 ? tagged(i, 0x8100, 99) : tagged(i, 0x8100, vids[i % 4]);
	push_into(trunk, 0, pkts, VB_BURST);
	for (int i = 0; i < VB_BURST; i++) {
		if (i % 4 == 3)
			continue;
		m = networks[i % 4].got[next[i % 4]++];
		assert_int_equal(rte_pktmbuf_mtod(m, uint8_t *)[11], i);
	}
	for (int i = 0; i < NB; i++)
		assert_int_equal(sink_empty(&networks[i]), next[i]);
	assert_int_equal(dropped(VB_DROP_NO_VLAN), VB_BURST / 4);

	for (int i = 0; i < VB_BURST; i++)
		pkts[i] = i % 4 == 3 ? tagged(i, 0x8100, 1) : plain(i);
	push_into(trunk, networks[FLAT].brick->edges[0].peer_index, pkts, VB_BURST);
	assert_int_equal(device.nb_got, VB_BURST * 3 / 4);
	for (int i = 0; i < VB_BURST * 3 / 4; i++) {
		m = device.got[i];
		assert_int_equal(rte_pktmbuf_mtod(m, uint8_t *)[11], i / 3 * 4 + i % 3);
	}
	sink_empty(&device);
}

static void a_vlan_has_one_network(void **state)
{
	(void)state;
	assert_int_equal(vb_vlan_join(trunk, 10, networks[2].brick), -EEXIST);
	assert_int_equal(vb_vlan_join(trunk, 0, networks[2].brick), -EEXIST);
	assert_int_equal(vb_vlan_join(trunk, 4095, networks[2].brick), -EINVAL);
	assert_int_equal(vb_vlan_leave(trunk, 4095), -ENOENT);
	assert_int_equal(vb_vlan_leave(trunk, 11), -ENOENT);
	assert_int_equal(vb_vlan_leave(trunk, 10), 0);
	assert_int_equal(vb_vlan_leave(trunk, 10), -ENOENT);
	/* Another VLAN at the edge that was free again. */
	assert_int_equal(vb_vlan_join(trunk, 12, networks[1].brick), 0);
	from_network(1, plain(1));
	assert_same(device.got[0], tagged(1, 0x8100, 12));
	from_device(tagged(1, 0x8100, 10));
	from_device(tagged(1, 0x8100, 12));
	assert_int_equal(sink_empty(&device), 1);
	assert_int_equal(sink_empty(&networks[1]), 1);
	assert_int_equal(vb_vlan_leave(trunk, 12), 0);
}

static void without_a_device_nobody_joins(void **state)
{
	struct vb_brick *empty;

	(void)state;
	assert_int_equal(vb_vlan_create("trunk/empty", &empty), 0);
	assert_int_equal(vb_vlan_join(empty, 10, networks[1].brick), -ENOTCONN);
	assert_int_equal(vb_brick_destroy(empty), 0);
	assert_int_equal(vb_brick_edges(networks[1].brick), 1);
}

static void a_device_may_go_and_another_come(void **state)
{
	(void)state;
	assert_int_equal(vb_brick_destroy(device.brick), 0);
	from_network(1, plain(1));
	assert_int_equal(dropped(VB_DROP_NO_PEER), 1);
	assert_int_equal(vb_vlan_join(trunk, 12, networks[1].brick), -ENOTCONN);
	sink_create(&device, "device");
	join(device.brick, trunk);
	from_network(1, plain(1));
	assert_same(device.got[0], tagged(1, 0x8100, 10));
	from_device(tagged(1, 0x8100, 10));
	assert_int_equal(sink_empty(&device), 1);
	assert_int_equal(sink_empty(&networks[1]), 1);
}

/* A trunk has one device; who joins it otherwise reaches nobody. */
static void a_second_device_is_not_heard(void **state)
{
	struct sink second;
	struct rte_mbuf *m = plain(1);

	(void)state;
	sink_create(&second, "second");
	join(second.brick, trunk);
	push_into(trunk, second.brick->edges[0].peer_index, &m, 1);
	assert_int_equal(dropped(VB_DROP_NO_VLAN), 1);
	assert_silence();
	assert_int_equal(vb_brick_destroy(second.brick), 0);
}

static void a_trunk_or_a_switch_in_use_stays(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	struct vb_brick *sw;

	(void)state;
	assert_int_equal(vb_switch_create("switch", &config, &sw), 0);
	assert_int_equal(vb_vlan_join(trunk, 20, sw), 0);
	assert_int_equal(vb_brick_destroy(sw), -EBUSY);
	assert_int_equal(vb_brick_destroy(trunk), -EBUSY);
	from_device(tagged(1, 0x8100, 20));
	assert_int_equal(vb_switch_macs(sw), 1);
	assert_int_equal(vb_vlan_leave(trunk, 20), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
}

/* A switch that joins tells its neighbours at once: the tag must be known by then. */
static void what_a_new_network_announces_is_tagged(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	const struct vb_neigh n = {.family = 4, .mac = {2, 0, 0, 0, 0, 7}, .ip = {10, 0, 0, 7}};
	struct rte_mbuf *m = harness_frame(0, 0, VB_NEIGH_FRAME);
	struct vb_brick *sw;
	struct sink guest;
	uint16_t edge;

	(void)state;
	vb_neigh_frame(&n, rte_pktmbuf_mtod(m, uint8_t *));
	assert_int_equal(vb_switch_create("switch", &config, &sw), 0);
	sink_create(&guest, "guest");
	edge = join(sw, guest.brick);
	push_into(sw, edge, &m, 1);
	assert_int_equal(vb_vlan_join(trunk, 20, sw), 0);
	/* The MAC, and the address; and again when the device comes back. */
	for (int round = 0; round < 2; round++) {
		assert_int_equal(device.nb_got, 2);
		for (int i = 0; i < 2; i++)
			assert_memory_equal(rte_pktmbuf_mtod_offset(device.got[i], char *, 12),
				i == 0 ? "\x81\x00\x00\x14\x80\x35" : "\x81\x00\x00\x14\x08\x06",
				6);
		sink_empty(&device);
		pthread_mutex_lock(&vb_lock);
		vb_graph_renew(device.brick);
		pthread_mutex_unlock(&vb_lock);
	}
	sink_empty(&device);
	assert_int_equal(vb_vlan_leave(trunk, 20), 0);
	assert_int_equal(vb_brick_destroy(guest.brick), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
}

/* ---- with workers ---- */

/* Sends and checks what it gets, on every worker; vid NB_VIDS is the device. */
struct talker {
	struct vb_brick *brick;
	uint16_t vid;
	uint64_t sent, got, wrong; /* atomics */
};

#define NB_VIDS 4

static uint64_t count(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint16_t talker_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	struct talker *t = node->state;
	struct rte_mbuf *pkts[8];
	uint16_t n = 0;

	for (uint16_t i = 0; i < 8; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(vb_pool);
		uint16_t vid = t->vid == NB_VIDS ? i % NB_VIDS : 0;
		uint8_t *p;

		if (m == NULL)
			break;
		p = (uint8_t *)rte_pktmbuf_append(m, LEN);
		memset(p, 0, LEN);
		p[11] = t->vid == NB_VIDS ? vid : t->vid;
		if (vid != 0)
			memcpy(p + 12, (uint8_t[]){0x81, 0, 0, vid}, 4);
		pkts[n++] = m;
	}
	__atomic_fetch_add(&t->sent, n, __ATOMIC_RELAXED);
	vb_push(ctx, node, edge, pkts, n);
	return n;
}

/* The last byte of the source says which network a frame is of. */
static bool is_right(const struct talker *t, const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	if (t->vid != NB_VIDS)
		return p[11] == t->vid && p[12] == 0;
	return p[11] == 0 ? p[12] == 0 : p[12] == 0x81 && p[15] == p[11];
}

static void talker_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct talker *t = node->state;

	(void)ctx;
	(void)edge;
	for (uint16_t i = 0; i < n; i++)
		if (!is_right(t, pkts[i]))
			__atomic_fetch_add(&t->wrong, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&t->got, n, __ATOMIC_RELAXED);
	rte_pktmbuf_free_bulk(pkts, n);
}

static void talker_nothing(struct vb_brick *brick)
{
	(void)brick;
}

static const struct vb_brick_ops talker_ops = {
	.kind = "talker",
	.polled = true,
	.pull = talker_pull,
	.push = talker_push,
	.quiesce = talker_nothing,
	.fini = talker_nothing,
};

static void talker_create(struct talker *t, uint16_t vid)
{
	*t = (struct talker){.vid = vid};
	t->brick = vb_brick_new(&talker_ops, "talker", t);
	assert_non_null(t->brick);
	vb_graph_add(t->brick);
}

static void networks_come_and_go_under_traffic(void **state)
{
	static struct talker talkers[NB_VIDS + 1];
	struct talker *dev = &talkers[NB_VIDS];
	uint64_t sent = 0, got = 0;
	struct vb_stats stats;
	struct vb_brick *t;

	(void)state;
	harness_start(2);
	assert_int_equal(vb_vlan_create("trunk/busy", &t), 0);
	for (uint16_t i = 0; i <= NB_VIDS; i++)
		talker_create(&talkers[i], i);
	join(dev->brick, t);
	for (int round = 0; round < 200; round++) {
		struct talker *net = &talkers[round % NB_VIDS];
		uint64_t seen = count(&net->got), answered = count(&dev->got);

		assert_int_equal(vb_vlan_join(t, net->vid, net->brick), 0);
		harness_wait(count(&net->got) > seen && count(&dev->got) > answered);
		if (round >= 2) /* two or three at a time, at edges that change */
			assert_int_equal(vb_vlan_leave(t, (round - 2) % NB_VIDS), 0);
	}
	for (uint16_t i = 0; i <= NB_VIDS; i++)
		assert_int_equal(vb_brick_destroy(talkers[i].brick), 0);
	vb_brick_stats(t, &stats);
	for (uint16_t i = 0; i <= NB_VIDS; i++) {
		assert_int_equal(talkers[i].wrong, 0);
		sent += talkers[i].sent;
		got += talkers[i].got;
	}
	/* Every packet arrived or has a reason. */
	assert_true(stats.drops[VB_DROP_NO_VLAN] > 0);
	assert_int_equal(sent, got + stats.drops[VB_DROP_NO_VLAN] + stats.drops[VB_DROP_NO_PEER]);
	assert_int_equal(vb_brick_destroy(t), 0);
	assert_int_equal(harness_in_use(), 0);
}

/* The last one, for it ends the workers. */
static void a_stop_ends_trunks_and_networks_too(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	struct vb_brick *t, *before, *after;
	static struct talker dev;

	(void)state;
	assert_int_equal(vb_switch_create("before", &config, &before), 0);
	assert_int_equal(vb_vlan_create("trunk/last", &t), 0);
	talker_create(&dev, NB_VIDS);
	join(dev.brick, t);
	assert_int_equal(vb_switch_create("after", &config, &after), 0);
	assert_int_equal(vb_vlan_join(t, 1, before), 0);
	assert_int_equal(vb_vlan_join(t, 2, after), 0);
	vb_stop();
	assert_null(vb_graph_first());
	assert_int_equal(harness_in_use(), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_tag_from_the_wire_names_the_network),
		T(what_has_no_vid_is_the_untagged_networks),
		T(only_the_outer_tag_is_popped),
		T(frames_of_nobodys_vlan_are_dropped),
		T(the_networks_tag_is_pushed),
		T(the_untagged_network_stays_untagged),
		T(a_guests_tag_stays_under_its_networks),
		T(short_frames_are_dropped),
		T(a_shared_packet_is_copied),
		T(a_packet_that_nobody_shares_is_not_copied),
		T(what_cannot_be_written_in_place_is_copied),
		T(what_is_to_be_done_moves_with_the_tag),
		T(without_a_buffer_a_shared_packet_is_dropped),
		T(a_burst_keeps_each_networks_order),
		T(a_vlan_has_one_network),
		T(without_a_device_nobody_joins),
		T(a_device_may_go_and_another_come),
		T(a_second_device_is_not_heard),
		T(a_trunk_or_a_switch_in_use_stays),
		T(what_a_new_network_announces_is_tagged),
		cmocka_unit_test(networks_come_and_go_under_traffic),
		cmocka_unit_test(a_stop_ends_trunks_and_networks_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
