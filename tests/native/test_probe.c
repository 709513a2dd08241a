/* SPDX-License-Identifier: Apache-2.0
 *
 * Probes: what they see, and that nobody else notices them; traces; filters.
 */
#include "harness.h"

#include <errno.h>
#include <pcap/bpf.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "probe/filter.h"

#define ROUNDS 300
#define CROWD 60

static const struct vb_switch_config switch_config = {.mac_table_size = 64, .mac_ageing_s = 300};
static const struct vb_security open_security = {.mode = VB_SECURITY_OPEN};

/* ---- a probe that counts ---- */

struct tally {
	struct vb_brick *brick;
	uint16_t by_parity[2];
};

static void tally_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct tally *t = node->state;

	t->by_parity[edge & 1] += n;
	vb_push(ctx, node, VB_PARTNER(edge), pkts, n);
}

static const struct vb_brick_ops tally_ops = {
	.kind = "tally",
	.push = tally_push,
};

static void tally_create(struct tally *t)
{
	*t = (struct tally){.brick = vb_brick_new(&tally_ops, "tally", t)};
	assert_non_null(t->brick);
}

static void probe(struct vb_brick *probe, struct vb_brick *at)
{
	pthread_mutex_lock(&vb_lock);
	assert_int_equal(vb_graph_probe(probe, at), 0);
	pthread_mutex_unlock(&vb_lock);
}

static void unprobe(struct vb_brick *probe)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_unprobe(probe);
	pthread_mutex_unlock(&vb_lock);
}

static void assert_tally(const struct tally *t, uint16_t from, uint16_t to)
{
	assert_int_equal(t->by_parity[0], from);
	assert_int_equal(t->by_parity[1], to);
}

/* ---- two guests on a switch, an antispoof brick before each ---- */

struct pair {
	struct vb_brick *sw, *guard[2];
	struct sink guest[2];
	uint16_t edge[2];
};

static void pair_start(struct pair *p)
{
	static const char *const names[] = {"one", "two"};

	harness_start(1);
	assert_int_equal(vb_switch_create("switch", &switch_config, &p->sw), 0);
	for (int i = 0; i < 2; i++) {
		sink_create(&p->guest[i], names[i]);
		assert_int_equal(
			vb_antispoof_create(names[i], &open_security, p->sw, &p->guard[i]), 0);
		p->edge[i] = join(p->guest[i].brick, p->guard[i]);
	}
}

static void pair_end(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		if (p->guest[i].brick != NULL)
			assert_int_equal(vb_brick_destroy(p->guest[i].brick), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(vb_brick_destroy(p->guard[i]), 0);
	assert_int_equal(vb_brick_destroy(p->sw), 0);
	assert_int_equal(harness_in_use(), 0);
}

static void say(struct pair *p, int from, uint8_t dst, uint16_t len)
{
	struct rte_mbuf *m = harness_frame(dst, 1 + from, len);

	push_from(p->guest[from].brick, p->edge[from], &m, 1);
}

/* ---- tests ---- */

static void a_probe_sees_both_ways(void **state)
{
	struct tally near, far;
	struct pair p;

	(void)state;
	pair_start(&p);
	tally_create(&near);
	tally_create(&far);
	say(&p, 1, 1, 60);
	assert_int_equal(sink_empty(&p.guest[0]), 1);
	probe(far.brick, p.guest[0].brick);
	probe(near.brick, p.guest[0].brick);
	say(&p, 0, 2, 60);
	assert_int_equal(sink_empty(&p.guest[1]), 1);
	assert_tally(&near, 1, 0);
	assert_tally(&far, 1, 0);
	/* It had been learned before, and is not flooded now. */
	say(&p, 1, 1, 60);
	assert_int_equal(sink_empty(&p.guest[0]), 1);
	assert_tally(&near, 1, 1);
	unprobe(far.brick);
	unprobe(far.brick);
	say(&p, 1, 1, 60);
	assert_int_equal(sink_empty(&p.guest[0]), 1);
	assert_tally(&near, 1, 2);
	assert_tally(&far, 1, 1);
	unprobe(near.brick);
	say(&p, 1, 1, 60);
	assert_int_equal(sink_empty(&p.guest[0]), 1);
	assert_tally(&near, 1, 2);
	vb_brick_free(near.brick);
	vb_brick_free(far.brick);
	pair_end(&p);
}

static void a_probe_is_not_the_end_of_a_path(void **state)
{
	const struct vb_snapshot *s;
	struct tally t;
	struct pair p;

	(void)state;
	pair_start(&p);
	tally_create(&t);
	probe(t.brick, p.guest[0].brick);
	s = vb_graph_snapshot();
	assert_ptr_equal(vb_path_end(&s->nodes[p.sw->node], 0)->brick, p.guest[0].brick);
	unprobe(t.brick);
	vb_brick_free(t.brick);
	pair_end(&p);
}

static void a_probe_stays_while_sessions_come_and_go(void **state)
{
	struct tally t;
	struct pair p;

	(void)state;
	pair_start(&p);
	tally_create(&t);
	part(p.guest[0].brick, p.edge[0]);
	probe(t.brick, p.guest[0].brick);
	p.edge[0] = join(p.guest[0].brick, p.guard[0]);
	say(&p, 0, 2, 60);
	assert_tally(&t, 1, 0);
	assert_int_equal(sink_empty(&p.guest[1]), 1);
	assert_true(vb_graph_is_probing(t.brick));
	assert_int_equal(vb_brick_destroy(p.guest[0].brick), 0);
	p.guest[0].brick = NULL;
	assert_false(vb_graph_is_probing(t.brick));
	vb_brick_free(t.brick);
	pair_end(&p);
}

/* ---- filters ---- */

/* Ethernet type ip, as "tcpdump -ddd ip" has it. */
static const struct vb_filter_insn ip_only[] = {
	{BPF_LD | BPF_H | BPF_ABS, 0, 0, 12},
	{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0x0800},
	{BPF_RET | BPF_K, 0, 0, 262144},
	{BPF_RET | BPF_K, 0, 0, 0},
};

static int program_result(const struct vb_filter_insn *insns, uint32_t n)
{
	const struct vb_filter filter = {insns, n};
	struct vb_program program;
	int ret = vb_program_init(&program, &filter);

	vb_program_fini(&program);
	return ret;
}

static void programs_are_checked(void **state)
{
	static struct vb_filter_insn much[VB_FILTER_MAX + 1];
	static const struct vb_filter_insn beyond[] = {
		{BPF_JMP | BPF_JA, 0, 0, 7}, {BPF_RET | BPF_K, 0, 0, 0}};
	static const struct vb_filter_insn endless[] = {{BPF_JMP | BPF_JA, 0, 0, UINT32_MAX}};
	static const struct vb_filter_insn unended[] = {{BPF_LD | BPF_H | BPF_ABS, 0, 0, 12}};
	static const struct vb_filter_insn scratch[] = {
		{BPF_LD | BPF_MEM, 0, 0, BPF_MEMWORDS}, {BPF_RET | BPF_A, 0, 0, 0}};

	(void)state;
	for (uint32_t i = 0; i <= VB_FILTER_MAX; i++)
		much[i] = (struct vb_filter_insn){BPF_RET | BPF_K, 0, 0, 0};
	assert_int_equal(program_result(ip_only, RTE_DIM(ip_only)), 0);
	assert_int_equal(program_result(NULL, 0), 0);
	assert_int_equal(program_result(much, VB_FILTER_MAX), 0);
	assert_int_equal(program_result(much, VB_FILTER_MAX + 1), -EINVAL);
	assert_int_equal(program_result(beyond, RTE_DIM(beyond)), -EINVAL);
	assert_int_equal(program_result(endless, RTE_DIM(endless)), -EINVAL);
	assert_int_equal(program_result(unended, RTE_DIM(unended)), -EINVAL);
	assert_int_equal(program_result(scratch, RTE_DIM(scratch)), -EINVAL);
}

static void a_program_stays_in_the_packet(void **state)
{
	static const struct vb_filter_insn far[] = {
		{BPF_LD | BPF_W | BPF_ABS, 0, 0, 100}, {BPF_RET | BPF_K, 0, 0, 1}};
	const struct vb_filter filter = {far, RTE_DIM(far)};
	struct vb_program program;
	struct rte_mbuf *m;

	(void)state;
	harness_start(1);
	assert_int_equal(vb_program_init(&program, &filter), 0);
	m = harness_frame(1, 2, 104);
	assert_true(vb_program_wants(&program, m));
	rte_pktmbuf_trim(m, 1);
	assert_false(vb_program_wants(&program, m));
	rte_pktmbuf_free(m);
	vb_program_fini(&program);
}

/* ---- traces ---- */

static const struct vb_filter everything;

static struct vb_trace *trace_start(struct vb_brick *brick, uint32_t n, const struct vb_filter *f)
{
	struct vb_trace *trace = NULL;

	assert_int_equal(vb_trace_start(brick, n, f, &trace), 0);
	return trace;
}

/* Read one packet; whether the trace has ended is as wanted. */
static struct vb_traced *read_one(struct vb_trace *trace, bool wanted)
{
	static struct vb_traced traced;
	bool ended;

	assert_int_equal(vb_trace_read(trace, &traced, 1, &ended), 1);
	assert_int_equal(ended, wanted);
	return &traced;
}

static void assert_visit(const struct vb_traced *t, uint32_t i, uint32_t depth, const char *brick,
	uint32_t decision)
{
	assert_in_range(i, 0, t->nb_visits - 1);
	assert_string_equal(t->visits[i].brick, brick);
	assert_int_equal(t->visits[i].depth, depth);
	assert_int_equal(t->visits[i].decision, decision);
	assert_int_equal(t->visits[i].dropped, 0);
}

static void assert_dropped(const struct vb_traced *t, uint32_t i, enum vb_drop why)
{
	assert_int_equal(t->visits[i].dropped, 1);
	assert_int_equal(t->visits[i].drop, why);
}

static void a_trace_tells_the_way(void **state)
{
	const struct vb_traced *t;
	struct vb_trace *trace;
	struct pair p;

	(void)state;
	pair_start(&p);
	trace = trace_start(p.guest[0].brick, 3, &everything);
	say(&p, 0, 2, 70);
	t = read_one(trace, false);
	assert_int_equal(t->length, 70);
	assert_int_equal(t->nb_head, 70);
	assert_int_equal(t->head[5], 2);
	assert_int_equal(t->nb_visits, 4);
	assert_visit(t, 0, 0, "one", VB_DECISION_NONE);
	assert_visit(t, 1, 1, "switch", VB_DECISION_UNKNOWN);
	assert_visit(t, 2, 2, "two", VB_DECISION_NONE);
	assert_visit(t, 3, 3, "two", VB_DECISION_NONE);
	/* What others send is not followed. */
	say(&p, 1, 1, 60);
	say(&p, 0, 2, 300);
	t = read_one(trace, false);
	assert_int_equal(t->nb_head, VB_TRACE_HEAD);
	assert_visit(t, 1, 1, "switch", VB_DECISION_KNOWN);
	say(&p, 0, 1, 60);
	t = read_one(trace, true);
	assert_int_equal(t->nb_visits, 2);
	assert_int_equal(t->visits[1].decision, VB_DECISION_NONE);
	assert_dropped(t, 1, VB_DROP_HAIRPIN);
	say(&p, 0, 2, 60);
	assert_int_equal(sink_empty(&p.guest[1]), 3);
	vb_trace_stop(trace);
	pair_end(&p);
}

/* A bump that drops what goes to its guests. */
static void gate_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	if ((edge & 1) == 0)
		vb_push(ctx, node, VB_PARTNER(edge), pkts, n);
	else
		vb_drop(vb_row(ctx, node->brick), VB_DROP_PORT_CLOSED, pkts, n);
}

static void gate_fini(struct vb_brick *brick)
{
	(void)brick;
}

static const struct vb_brick_ops gate_ops = {
	.kind = "gate",
	.push = gate_push,
	.fini = gate_fini,
};

static void a_drop_is_told_where_it_is(void **state)
{
	static const struct vb_security closed = {.mode = VB_SECURITY_CLOSED};
	const struct vb_traced *t;
	struct vb_trace *trace;
	struct pair p;

	(void)state;
	pair_start(&p);
	trace = trace_start(p.guest[0].brick, 1, &everything);
	assert_int_equal(vb_antispoof_set(p.guard[0], &closed), 0);
	say(&p, 0, 2, 60);
	t = read_one(trace, true);
	assert_int_equal(t->nb_visits, 1);
	assert_dropped(t, 0, VB_DROP_PORT_CLOSED);
	vb_trace_stop(trace);
	pair_end(&p);
}

static void a_drop_is_not_told_twice(void **state)
{
	const struct vb_traced *t;
	struct vb_trace *trace;
	struct vb_brick *gate;
	struct pair p;

	(void)state;
	pair_start(&p);
	/* The same brick stands before the switch and behind it. */
	gate = vb_brick_new(&gate_ops, "gate", NULL);
	gate->onward = p.sw;
	vb_graph_add(gate);
	for (int i = 0; i < 2; i++) {
		part(p.guest[i].brick, p.edge[i]);
		p.edge[i] = join(p.guest[i].brick, gate);
	}
	trace = trace_start(p.guest[0].brick, 1, &everything);
	say(&p, 0, 2, 60);
	t = read_one(trace, true);
	assert_int_equal(t->nb_visits, 3);
	assert_visit(t, 0, 0, "gate", VB_DECISION_NONE);
	assert_visit(t, 1, 1, "switch", VB_DECISION_UNKNOWN);
	assert_int_equal(t->visits[2].depth, 2);
	assert_dropped(t, 2, VB_DROP_PORT_CLOSED);
	vb_trace_stop(trace);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vb_brick_destroy(p.guest[i].brick), 0);
		p.guest[i].brick = NULL;
	}
	assert_int_equal(vb_brick_destroy(gate), 0);
	pair_end(&p);
}

static void bursts_keep_their_order(void **state)
{
	const struct vb_filter filter = {ip_only, RTE_DIM(ip_only)};
	struct rte_mbuf *pkts[8];
	struct vb_trace *trace;
	struct pair p;

	(void)state;
	pair_start(&p);
	trace = trace_start(p.guest[0].brick, 2, &filter);
	for (uint16_t i = 0; i < RTE_DIM(pkts); i++) {
		pkts[i] = harness_frame(2, 1, 60 + i);
		if (i % 2 == 1)
			rte_pktmbuf_mtod(pkts[i], uint8_t *)[12] = 0x08;
	}
	push_from(p.guest[0].brick, p.edge[0], pkts, RTE_DIM(pkts));
	assert_int_equal(p.guest[1].nb_got, RTE_DIM(pkts));
	for (uint16_t i = 0; i < RTE_DIM(pkts); i++)
		assert_int_equal(p.guest[1].got[i]->pkt_len, 60 + i);
	assert_int_equal(read_one(trace, false)->length, 61);
	assert_int_equal(read_one(trace, true)->length, 63);
	vb_trace_stop(trace);
	sink_empty(&p.guest[1]);
	pair_end(&p);
}

static void a_brick_has_one_trace(void **state)
{
	struct vb_trace *first, *second, *refused = NULL;
	struct vb_traced traced;
	struct pair p;
	bool ended;

	(void)state;
	pair_start(&p);
	first = trace_start(p.guest[0].brick, 1, &everything);
	assert_int_equal(vb_trace_start(p.guest[0].brick, 1, &everything, &refused), -EBUSY);
	second = trace_start(p.guest[1].brick, VB_TRACE_MAX, &everything);
	assert_int_equal(vb_trace_start(p.guest[1].brick, 0, &everything, &refused), -EINVAL);
	assert_int_equal(vb_trace_start(p.guest[1].brick, VB_TRACE_MAX + 1, &everything, &refused),
		-EINVAL);
	assert_null(refused);
	say(&p, 0, 2, 60);
	say(&p, 1, 1, 60);
	assert_string_equal(read_one(first, true)->visits[0].brick, "one");
	vb_trace_stop(first);
	assert_string_equal(read_one(second, false)->visits[0].brick, "two");
	assert_int_equal(vb_brick_destroy(p.guest[1].brick), 0);
	p.guest[1].brick = NULL;
	assert_int_equal(vb_trace_read(second, &traced, 1, &ended), 0);
	assert_true(ended);
	vb_trace_stop(second);
	sink_empty(&p.guest[0]);
	pair_end(&p);
}

static void many_visits_are_counted(void **state)
{
	struct sink crowd[CROWD];
	const struct vb_traced *t;
	struct vb_trace *trace;
	struct pair p;

	(void)state;
	pair_start(&p);
	for (int i = 0; i < CROWD; i++) {
		sink_create(&crowd[i], "crowd");
		join(crowd[i].brick, p.guard[1]);
	}
	trace = trace_start(p.guest[0].brick, 1, &everything);
	say(&p, 0, 0xff, 60);
	t = read_one(trace, true);
	assert_int_equal(t->nb_visits, VB_VISITS_MAX);
	assert_int_equal(t->nb_untold, 2 + 2 * (1 + CROWD) - VB_VISITS_MAX);
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(sink_empty(&crowd[i]), 1);
		assert_int_equal(vb_brick_destroy(crowd[i].brick), 0);
	}
	vb_trace_stop(trace);
	pair_end(&p);
}

static void probes_come_and_go_under_traffic(void **state)
{
	struct springs springs;
	struct tally t;

	(void)state;
	springs_start(&springs, 1);
	for (int i = 0; i < ROUNDS; i++) {
		struct vb_trace *trace = trace_start(springs.guests[i % 2], 2, &everything);
		uint32_t n = 0;
		bool ended = false;

		tally_create(&t);
		probe(t.brick, springs.guests[0]);
		while (n < 2) {
			struct vb_traced traced;

			if (vb_trace_read(trace, &traced, 1, &ended) == 0)
				continue;
			assert_int_equal(traced.nb_visits, 2);
			n++;
		}
		assert_true(ended);
		unprobe(t.brick);
		vb_brick_free(t.brick);
		vb_trace_stop(trace);
	}
	springs_end(&springs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_probe_sees_both_ways),
		cmocka_unit_test(a_probe_is_not_the_end_of_a_path),
		cmocka_unit_test(a_probe_stays_while_sessions_come_and_go),
		cmocka_unit_test(programs_are_checked),
		cmocka_unit_test(a_program_stays_in_the_packet),
		cmocka_unit_test(a_trace_tells_the_way),
		cmocka_unit_test(a_drop_is_told_where_it_is),
		cmocka_unit_test(a_drop_is_not_told_twice),
		cmocka_unit_test(bursts_keep_their_order),
		cmocka_unit_test(a_brick_has_one_trace),
		cmocka_unit_test(many_visits_are_counted),
		cmocka_unit_test(probes_come_and_go_under_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
