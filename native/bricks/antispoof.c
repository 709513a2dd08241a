/* SPDX-License-Identifier: Apache-2.0
 *
 * The antispoof brick: what stands between a port and its switch, and lets through what
 * the port's security allows.
 *
 * It is a bump in the wire: each session of the port has a pair of edges in it, even to
 * the guest and odd to the switch, and what comes in over one goes out over the other.
 * An open port pays a branch a burst.  A filtered one has every frame of its guest
 * checked (antispoof_packet.c); frames to the guest pass.  A closed one passes nothing.
 *
 * Rules are immutable (antispoof_rules.h).  Other ones are put in place by an atomic
 * store, and the old ones are freed when every worker has passed a quiescent state.
 */
#include <errno.h>
#include <rte_branch_prediction.h>
#include <stdlib.h>

#include "bricks/antispoof_packet.h"
#include "core/graph.h"

struct antispoof_state {
	struct antispoof_rules *rules; /* atomic; written with vb_lock held */
};

/* ---- workers ---- */

static inline bool from_guest(uint16_t edge)
{
	return (edge & 1) == 0;
}

/* Drop what the guest may not send; return how many packets are left. */
static uint16_t filter(const struct antispoof_rules *rules, struct vb_counters *row,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		enum vb_drop why = antispoof_check(rules, pkts[i]);

		if (likely(why == ANTISPOOF_PASS))
			pkts[kept++] = pkts[i];
		else
			vb_drop(row, why, &pkts[i], 1);
	}
	return kept;
}

static void antispoof_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	const struct antispoof_state *state = node->state;
	const struct antispoof_rules *rules = __atomic_load_n(&state->rules, __ATOMIC_ACQUIRE);
	struct vb_counters *row = vb_row(ctx, node->brick);

	if (unlikely(rules->mode == VB_SECURITY_CLOSED)) {
		vb_drop(row, VB_DROP_PORT_CLOSED, pkts, n);
		return;
	}
	if (rules->mode == VB_SECURITY_FILTERED && from_guest(edge)) {
		n = filter(rules, row, pkts, n);
		if (n == 0)
			return;
	}
	vb_push(ctx, node, VB_PARTNER(edge), pkts, n);
}

/* ---- control ---- */

static bool antispoof_admits(struct vb_brick *brick, const struct rte_mbuf *m)
{
	const struct antispoof_state *state = brick->state;
	const struct antispoof_rules *rules = __atomic_load_n(&state->rules, __ATOMIC_ACQUIRE);

	if (rules->mode == VB_SECURITY_FILTERED)
		return antispoof_check(rules, m) == ANTISPOOF_PASS;
	return rules->mode == VB_SECURITY_OPEN;
}

static void antispoof_fini(struct vb_brick *brick)
{
	struct antispoof_state *state = brick->state;

	free(state->rules);
	free(state);
}

static const struct vb_brick_ops antispoof_ops = {
	.kind = "antispoof",
	.push = antispoof_push,
	.admits = antispoof_admits,
	.fini = antispoof_fini,
};

int vb_antispoof_create(const char *name, const struct vb_security *security, struct vb_brick *to,
	struct vb_brick **out)
{
	struct antispoof_rules *rules;
	struct antispoof_state *state;
	struct vb_brick *brick = NULL;
	int ret = antispoof_rules_new(security, &rules);

	if (ret != 0)
		return ret;
	state = calloc(1, sizeof(*state));
	if (state != NULL)
		brick = vb_brick_new(&antispoof_ops, name, state);
	if (brick == NULL) {
		free(state);
		free(rules);
		return -ENOMEM;
	}
	state->rules = rules;
	brick->onward = to;
	vb_graph_add(brick);
	*out = brick;
	return 0;
}

int vb_antispoof_set(struct vb_brick *brick, const struct vb_security *security)
{
	struct antispoof_state *state = brick->state;
	struct antispoof_rules *rules, *old;
	int ret = antispoof_rules_new(security, &rules);

	if (ret != 0)
		return ret;
	/* Who holds the lock may push, too: a switch that announces neighbours. */
	pthread_mutex_lock(&vb_lock);
	old = __atomic_exchange_n(&state->rules, rules, __ATOMIC_ACQ_REL);
	vb_graph_synchronise();
	pthread_mutex_unlock(&vb_lock);
	free(old);
	return 0;
}
