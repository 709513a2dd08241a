/* SPDX-License-Identifier: Apache-2.0
 *
 * The antispoof brick between two others: its modes, its pairs of edges, and other
 * rules under traffic.  What the rules say of a frame is test_antispoof_packet.c's.
 */
#include "harness.h"

#include <errno.h>
#include <rte_cycles.h>
#include <sched.h>

#include "bricks/neigh.h"
#include "core/pool.h"
#include "core/runtime.h"

#define OWN 1
#define OTHER 9

static const struct vb_address_pair own = {.mac = {2, 0, 0, 0, 0, OWN}};
static const struct vb_address_pair own_more = {
	.mac = {2, 0, 0, 0, 0, OWN}, .family = 4, .prefix_len = 32, .address = {192, 0, 2, 7}};
static const struct vb_security open_port = {.mode = VB_SECURITY_OPEN};
static const struct vb_security closed = {.mode = VB_SECURITY_CLOSED};
static const struct vb_security filtered = {VB_SECURITY_FILTERED, 1, &own};
static const struct vb_security filtered_more = {VB_SECURITY_FILTERED, 1, &own_more};

/* ---- one session, nobody working ---- */

static struct sink guest, network;
static struct vb_brick *guard;
static uint16_t from_guest, from_network; /* edges of guard */

static int setup(void **state)
{
	(void)state;
	harness_start(2);
	sink_create(&guest, "vhost/g");
	sink_create(&network, "network");
	assert_int_equal(vb_antispoof_create("antispoof/g", &filtered, network.brick, &guard), 0);
	join(guest.brick, guard);
	from_guest = guest.brick->edges[0].peer_index;
	from_network = VB_PARTNER(from_guest);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(vb_brick_destroy(guest.brick), 0);
	assert_int_equal(vb_brick_destroy(guard), 0);
	assert_int_equal(vb_brick_destroy(network.brick), 0);
	return harness_in_use();
}

static void send(struct vb_brick *into, uint16_t edge, uint8_t dst, uint8_t src)
{
	struct rte_mbuf *m = harness_frame(dst, src, 60);

	push_into(into, edge, &m, 1);
}

static uint64_t dropped(struct vb_brick *brick, enum vb_drop why)
{
	struct vb_stats stats;

	vb_brick_stats(brick, &stats);
	return stats.drops[why];
}

static void an_open_port_passes_everything(void **state)
{
	(void)state;
	assert_int_equal(vb_antispoof_set(guard, &open_port), 0);
	send(guard, from_guest, 2, OTHER);
	assert_int_equal(sink_empty(&network), 1);
	send(guard, from_network, OWN, 2);
	assert_int_equal(sink_empty(&guest), 1);
}

static void a_filtered_port_checks_its_guest(void **state)
{
	(void)state;
	send(guard, from_guest, 2, OWN);
	assert_int_equal(sink_empty(&network), 1);
	send(guard, from_guest, 2, OTHER);
	assert_int_equal(sink_empty(&network), 0);
	assert_int_equal(dropped(guard, VB_DROP_SPOOFED_MAC), 1);
	/* To the guest anybody may send. */
	send(guard, from_network, OWN, OTHER);
	assert_int_equal(sink_empty(&guest), 1);
}

static void a_closed_port_passes_nothing(void **state)
{
	(void)state;
	assert_int_equal(vb_antispoof_set(guard, &closed), 0);
	send(guard, from_guest, 2, OWN);
	send(guard, from_network, OWN, 2);
	assert_int_equal(sink_empty(&network) + sink_empty(&guest), 0);
	assert_int_equal(dropped(guard, VB_DROP_PORT_CLOSED), 2);
	assert_int_equal(vb_antispoof_set(guard, &filtered), 0);
	send(guard, from_guest, 2, OWN);
	assert_int_equal(sink_empty(&network), 1);
}

static void what_is_left_of_a_burst_keeps_its_order(void **state)
{
	struct rte_mbuf *pkts[VB_BURST], *sent[VB_BURST];
	uint16_t good = 0;

	(void)state;
	for (int i = 0; i < VB_BURST; i++)
		pkts[i] = sent[i] = harness_frame(2, i % 3 == 0 ? OTHER : OWN, 60);
	push_into(guard, from_guest, pkts, VB_BURST);
	for (int i = 0; i < VB_BURST; i++)
		if (i % 3 != 0)
			assert_ptr_equal(network.got[good++], sent[i]);
	assert_int_equal(sink_empty(&network), good);
	assert_int_equal(dropped(guard, VB_DROP_SPOOFED_MAC), VB_BURST - good);
}

static void bad_rules_change_nothing(void **state)
{
	const struct vb_security bad = {VB_SECURITY_CLOSED + 1, 0, NULL};
	struct vb_brick *none;

	(void)state;
	assert_int_equal(vb_antispoof_set(guard, &bad), -EINVAL);
	assert_int_equal(vb_antispoof_create("none", &bad, network.brick, &none), -EINVAL);
	send(guard, from_guest, 2, OWN);
	assert_int_equal(sink_empty(&network), 1);
}

static void it_goes_after_the_port(void **state)
{
	(void)state;
	assert_int_equal(vb_brick_destroy(guard), -EBUSY);
	assert_int_equal(vb_brick_edges(guard), 2);
	part(guest.brick, 0);
	assert_int_equal(vb_brick_edges(guard), 0);
	assert_int_equal(vb_brick_edges(network.brick), 0);
	join(guest.brick, guard);
}

/* ---- sessions of one port on a real switch ---- */

static struct vb_brick *sw;
static struct sink sessions[3];

static int setup_sessions(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	static const char *const names[] = {"vhost/g", "vhost/g", "vhost/h"};

	(void)state;
	harness_start(2);
	assert_int_equal(vb_switch_create("switch/t", &config, &sw), 0);
	assert_int_equal(vb_antispoof_create("antispoof/g", &open_port, sw, &guard), 0);
	for (int i = 0; i < 3; i++) {
		sink_create(&sessions[i], names[i]);
		join(sessions[i].brick, i < 2 ? guard : sw);
	}
	return 0;
}

static int teardown_sessions(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(vb_brick_destroy(sessions[i].brick), 0);
	assert_int_equal(vb_brick_destroy(guard), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
	return harness_in_use();
}

/* Session i sends a frame: into what it is joined to. */
static void session_sends(int i, struct rte_mbuf *m)
{
	const struct vb_edge *edge = &sessions[i].brick->edges[0];

	push_into(edge->peer, edge->peer_index, &m, 1);
}

static void sessions_are_learned_apart(void **state)
{
	(void)state;
	session_sends(0, harness_frame(0xff, 1, 60));
	assert_int_equal(sink_empty(&sessions[0]), 0);
	assert_int_equal(sink_empty(&sessions[1]), 1);
	assert_int_equal(sink_empty(&sessions[2]), 1);
	/* From one session of the port to the other. */
	session_sends(1, harness_frame(1, 2, 60));
	assert_int_equal(sink_empty(&sessions[0]), 1);
	assert_int_equal(sink_empty(&sessions[2]), 0);
	session_sends(2, harness_frame(2, 3, 60));
	assert_int_equal(sink_empty(&sessions[1]), 1);
	assert_int_equal(sink_empty(&sessions[0]), 0);
	/* A guest that moves to the port's other session is found there. */
	session_sends(1, harness_frame(3, 1, 60));
	assert_int_equal(sink_empty(&sessions[2]), 1);
	session_sends(2, harness_frame(1, 3, 60));
	assert_int_equal(sink_empty(&sessions[1]), 1);
}

static void a_session_leaves_the_others_alone(void **state)
{
	(void)state;
	session_sends(0, harness_frame(0xff, 1, 60));
	session_sends(1, harness_frame(0xff, 2, 60));
	for (int i = 0; i < 3; i++)
		sink_empty(&sessions[i]);
	part(sessions[0].brick, 0);
	assert_int_equal(vb_brick_edges(guard), 2);
	assert_int_equal(vb_brick_edges(sw), 2);
	assert_int_equal(vb_switch_macs(sw), 1);
	session_sends(2, harness_frame(2, 3, 60));
	assert_int_equal(sink_empty(&sessions[1]), 1);
	/* The same from the far end, and the places are taken again. */
	join(sessions[0].brick, guard);
	part(sw, sessions[0].brick->edges[0].peer->edges[1].peer_index);
	assert_int_equal(vb_brick_edges(sessions[0].brick), 0);
	join(sessions[0].brick, guard);
	assert_int_equal(sessions[0].brick->edges[0].peer_index, 0);
	assert_int_equal(vb_brick_edges(guard), 4);
}

/* Neighbours are filed under the port, as if nothing stood between it and its switch. */
static void who_comes_back_is_told_of_the_others(void **state)
{
	const struct vb_neigh n[2] = {
		{.family = 4, .mac = {2, 0, 0, 0, 0, 1}, .ip = {10, 0, 0, 1}},
		{.family = 4, .mac = {2, 0, 0, 0, 0, 3}, .ip = {10, 0, 0, 3}},
	};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct rte_mbuf *m = harness_frame(0, 0, VB_NEIGH_FRAME);

		vb_neigh_frame(&n[i], rte_pktmbuf_mtod(m, uint8_t *));
		session_sends(2 * i, m);
	}
	part(sessions[0].brick, 0);
	for (int i = 0; i < 3; i++)
		sink_empty(&sessions[i]);
	join(sessions[0].brick, guard);
	assert_int_equal(sessions[0].nb_got, 1);
	assert_memory_equal(
		rte_pktmbuf_mtod_offset(sessions[0].got[0], uint8_t *, 6), n[1].mac, 6);
	/* Where it is needs no learning anew. */
	session_sends(2, harness_frame(1, 3, 60));
	assert_int_equal(sessions[0].nb_got, 2);
	assert_int_equal(sink_empty(&sessions[1]), 0);
}

/* ---- other rules under traffic ---- */

/* A guest that sends all the time, and a network that counts what comes. */
struct talker {
	uint64_t sent;
	uint64_t got;
};

static uint16_t talker_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	struct talker *t = node->state;
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_pool);
	uint8_t *p;

	if (m == NULL)
		return 0;
	p = (uint8_t *)rte_pktmbuf_append(m, 60);
	memset(p, 0, 60);
	p[6] = 2;
	p[11] = OWN;
	__atomic_add_fetch(&t->sent, 1, __ATOMIC_RELAXED);
	vb_push(ctx, node, edge, &m, 1);
	return 1;
}

static void talker_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct talker *t = node->state;

	(void)ctx;
	(void)edge;
	__atomic_add_fetch(&t->got, n, __ATOMIC_RELAXED);
	rte_pktmbuf_free_bulk(pkts, n);
}

static void talker_quiesce(struct vb_brick *brick)
{
	(void)brick;
}

static void talker_fini(struct vb_brick *brick)
{
	(void)brick;
}

static const struct vb_brick_ops talking = {
	.kind = "talker",
	.polled = true,
	.pull = talker_pull,
	.push = talker_push,
	.quiesce = talker_quiesce,
	.fini = talker_fini,
};

static const struct vb_brick_ops listening = {
	.kind = "listener",
	.push = talker_push,
	.quiesce = talker_quiesce,
	.fini = talker_fini,
};

static struct vb_brick *talker_create(const struct vb_brick_ops *ops, struct talker *t)
{
	struct vb_brick *brick = vb_brick_new(ops, ops->kind, t);

	assert_non_null(brick);
	vb_graph_add(brick);
	return brick;
}

static uint64_t count(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void rules_change_under_traffic(void **state)
{
	static const struct vb_security *const kinds[] = {
		&filtered, &open_port, &filtered_more, &closed};
	struct talker talker = {0}, listener = {0};
	struct vb_brick *from, *to;
	uint64_t lost;

	(void)state;
	harness_start(2);
	from = talker_create(&talking, &talker);
	to = talker_create(&listening, &listener);
	assert_int_equal(vb_antispoof_create("antispoof/g", &filtered, to, &guard), 0);
	join(from, guard);
	for (int i = 0; i < 400; i++) {
		uint64_t sent, got;

		assert_int_equal(vb_antispoof_set(guard, kinds[i % 4]), 0);
		sent = count(&talker.sent);
		got = count(&listener.got);
		/* Now and then let the rules be really used before they go. */
		if (i % 20 < 16)
			continue;
		harness_wait(count(&talker.sent) > sent + 10);
		if (kinds[i % 4] == &closed)
			assert_int_equal(count(&listener.got), got);
		else
			harness_wait(count(&listener.got) > got);
	}
	assert_int_equal(vb_brick_destroy(from), 0);
	lost = dropped(guard, VB_DROP_PORT_CLOSED);
	assert_int_equal(talker.sent, listener.got + lost);
	assert_true(lost > 0);
	assert_int_equal(vb_brick_destroy(guard), 0);
	assert_int_equal(vb_brick_destroy(to), 0);
	assert_int_equal(harness_in_use(), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define S(f) cmocka_unit_test_setup_teardown(f, setup_sessions, teardown_sessions)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_open_port_passes_everything),
		T(a_filtered_port_checks_its_guest),
		T(a_closed_port_passes_nothing),
		T(what_is_left_of_a_burst_keeps_its_order),
		T(bad_rules_change_nothing),
		T(it_goes_after_the_port),
		S(sessions_are_learned_apart),
		S(a_session_leaves_the_others_alone),
		S(who_comes_back_is_told_of_the_others),
		cmocka_unit_test(rules_change_under_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
