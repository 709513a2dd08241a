/* SPDX-License-Identifier: Apache-2.0
 *
 * A trace: where the next packets of a brick go, and where each one ends.
 *
 * Its probe (core/graph.h) hands on each packet that it follows in a burst of its own.  A
 * worker carries a burst to all its ends before push() returns, so whatever happens
 * meanwhile happens to that packet or to copies of it, and nothing needs to be written on
 * it.  While there is a trace all pushes go through visit(), which notes them for a packet that
 * is followed.  What became of it in a brick is what the brick counted meanwhile, but
 * for what it counted in visits within that one.
 *
 * Packets are noted in slots, each one worker's until it is marked as done.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/clock.h"
#include "core/graph.h"
#include "probe/filter.h"
#include "probe/pages.h"

struct slot {
	bool done; /* atomic */
	struct vb_traced traced;
};

struct vb_trace {
	struct vb_brick *probe;
	struct vb_program program;
	uint32_t nb_slots;
	uint32_t taken; /* atomic; beyond nb_slots when all are */
	uint32_t nb_read;
	struct slot slots[];
};

/* What a worker, or who holds vb_lock, is carrying. */
static struct {
	struct vb_traced *traced; /* NULL: a packet that nobody follows */
	uint32_t depth;
} __rte_cache_aligned carried[VB_ROWS];

static uint32_t nb_traces; /* vb_lock */

/* ---- workers ---- */

/* The visit's place among those that are told, or VB_VISITS_MAX: there is none left. */
static uint32_t visit_begin(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	const struct rte_mbuf *m)
{
	struct vb_traced *t = carried[ctx->worker].traced;
	struct vb_visit *v = &t->visits[t->nb_visits];

	if (t->nb_visits == VB_VISITS_MAX) {
		t->nb_untold++;
		return VB_VISITS_MAX;
	}
	memcpy(v->brick, node->brick->name, sizeof(v->brick));
	v->depth = carried[ctx->worker].depth;
	if (node->ops->decide != NULL)
		v->decision = node->ops->decide(ctx, node, edge, m);
	return t->nb_visits++;
}

/* What the visits after this one, which were within it, saw dropped in the same brick. */
static uint64_t dropped_within(const struct vb_traced *t, uint32_t visit, uint32_t why)
{
	const struct vb_visit *outer = &t->visits[visit];
	uint64_t n = 0;

	for (uint32_t i = visit + 1; i < t->nb_visits; i++) {
		const struct vb_visit *v = &t->visits[i];

		if (v->drop == why && strcmp(v->brick, outer->brick) == 0)
			n += v->dropped;
	}
	return n;
}

static void visit_end(struct vb_traced *t, uint32_t visit, const struct vb_counters *row,
	const struct vb_counters *before)
{
	struct vb_visit *v = &t->visits[visit];

	v->delivered = row->to_peer_packets - before->to_peer_packets;
	for (uint32_t why = 0; why < VB_DROPS; why++) {
		uint64_t n = row->drops[why] - before->drops[why];

		if (n > 0)
			n -= RTE_MIN(n, dropped_within(t, visit, why));
		if (n > 0)
			v->drop = why;
		v->dropped += n;
	}
	if (v->dropped > 0)
		v->decision = VB_DECISION_NONE;
}

static __rte_noinline void visit_followed(const struct vb_ctx *ctx, const struct vb_node *node,
	uint16_t edge, struct rte_mbuf **pkts, uint16_t n)
{
	struct vb_traced *t = carried[ctx->worker].traced;
	const struct vb_counters *row = vb_row(ctx, node->brick);
	struct vb_counters before = *row;
	uint32_t visit = visit_begin(ctx, node, edge, pkts[0]);

	carried[ctx->worker].depth++;
	node->ops->push(ctx, node, edge, pkts, n);
	carried[ctx->worker].depth--;
	if (visit < VB_VISITS_MAX)
		visit_end(t, visit, row, &before);
}

static void visit(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	if (unlikely(carried[ctx->worker].traced != NULL))
		visit_followed(ctx, node, edge, pkts, n);
	else
		node->ops->push(ctx, node, edge, pkts, n);
}

/* A slot for m, if the trace wants it and has one. */
static struct slot *slot_for(struct vb_trace *trace, const struct rte_mbuf *m)
{
	uint32_t i;

	/* First, so that the counter of a trace that is full stays where it is. */
	if (__atomic_load_n(&trace->taken, __ATOMIC_RELAXED) >= trace->nb_slots)
		return NULL;
	if (!vb_program_wants(&trace->program, m))
		return NULL;
	i = __atomic_fetch_add(&trace->taken, 1, __ATOMIC_RELAXED);
	return i < trace->nb_slots ? &trace->slots[i] : NULL;
}

static void follow(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct slot *slot, struct rte_mbuf *m)
{
	struct vb_traced *t = &slot->traced;

	t->time = vb_wall_ns();
	t->worker = ctx->worker;
	t->length = m->pkt_len;
	t->nb_head = RTE_MIN(m->data_len, VB_TRACE_HEAD);
	memcpy(t->head, rte_pktmbuf_mtod(m, const void *), t->nb_head);
	carried[ctx->worker].traced = t;
	vb_push(ctx, node, edge, &m, 1);
	carried[ctx->worker].traced = NULL;
	__atomic_store_n(&slot->done, true, __ATOMIC_RELEASE);
}

static void trace_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct vb_trace *trace = node->state;
	uint16_t onward = VB_PARTNER(edge), first = 0;

	/* Those that nobody follows go on in bursts, and all in their order. */
	for (uint16_t i = 0; (edge & 1) == 0 && i < n; i++) {
		struct slot *slot = slot_for(trace, pkts[i]);

		if (slot == NULL)
			continue;
		if (i > first)
			vb_push(ctx, node, onward, pkts + first, i - first);
		follow(ctx, node, onward, slot, pkts[i]);
		first = i + 1;
	}
	if (first < n)
		vb_push(ctx, node, onward, pkts + first, n - first);
}

static const struct vb_brick_ops trace_ops = {
	.kind = "trace",
	.push = trace_push,
};

/* ---- control ---- */

static bool is_traced(const struct vb_brick *brick)
{
	for (const struct vb_brick *p = brick->probe; p != NULL; p = p->next)
		if (p->ops == &trace_ops)
			return true;
	return false;
}

static size_t size_of(uint32_t nb_slots)
{
	return sizeof(struct vb_trace) + nb_slots * sizeof(struct slot);
}

static void trace_free(struct vb_trace *trace)
{
	if (trace->probe != NULL)
		vb_brick_free(trace->probe);
	vb_program_fini(&trace->program);
	vb_pages_give(trace, size_of(trace->nb_slots));
}

static int enter(struct vb_trace *trace, struct vb_brick *brick)
{
	int ret;

	if (is_traced(brick))
		return -EBUSY;
	ret = nb_traces == 0 ? vb_graph_push_through(visit) : 0;
	if (ret != 0)
		return ret;
	ret = vb_graph_probe(trace->probe, brick);
	if (ret == 0)
		nb_traces++;
	else if (nb_traces == 0)
		vb_graph_push_through(NULL);
	return ret;
}

int vb_trace_start(
	struct vb_brick *brick, uint32_t n, const struct vb_filter *filter, struct vb_trace **out)
{
	struct vb_trace *trace;
	int ret;

	if (n < 1 || n > VB_TRACE_MAX)
		return -EINVAL;
	trace = vb_pages_get(size_of(n), 0);
	if (trace == NULL)
		return -ENOMEM;
	trace->nb_slots = n;
	ret = vb_program_init(&trace->program, filter);
	if (ret == 0) {
		trace->probe = vb_brick_new(&trace_ops, brick->name, trace);
		ret = trace->probe != NULL ? 0 : -ENOMEM;
	}
	if (ret == 0) {
		pthread_mutex_lock(&vb_lock);
		ret = enter(trace, brick);
		pthread_mutex_unlock(&vb_lock);
	}
	if (ret != 0)
		trace_free(trace);
	else
		*out = trace;
	return ret;
}

uint32_t vb_trace_read(struct vb_trace *trace, struct vb_traced *out, uint32_t max, bool *ended)
{
	/* Asked first: what its workers have taken by then is there to be read. */
	bool gone = !vb_graph_is_probing(trace->probe);
	uint32_t n = 0;

	for (; n < max && trace->nb_read < trace->nb_slots; n++) {
		const struct slot *slot = &trace->slots[trace->nb_read];

		if (!__atomic_load_n(&slot->done, __ATOMIC_ACQUIRE))
			break;
		out[n] = slot->traced;
		trace->nb_read++;
	}
	*ended = trace->nb_read == trace->nb_slots || (gone && n < max);
	return n;
}

void vb_trace_stop(struct vb_trace *trace)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_unprobe(trace->probe);
	/* Without memory for another snapshot they go through visit() for longer. */
	if (--nb_traces == 0)
		vb_graph_push_through(NULL);
	pthread_mutex_unlock(&vb_lock);
	trace_free(trace);
}
