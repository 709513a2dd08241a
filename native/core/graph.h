/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph: bricks and edges on the control side, an immutable snapshot of
 * them on the workers' side.
 *
 * Every change edits the bricks' edges under vb_lock, builds a new snapshot and
 * publishes it with one atomic store.  Workers pass a quiescent state each
 * round (rte_rcu_qsbr); only then are old snapshots freed, and only then does a
 * removal return.  So nothing a worker can reach is ever freed under it, and
 * the forwarding path takes no lock.
 *
 * A brick may be a bump in the wire (vb_brick's "onward"): whoever is joined to it is
 * joined, through it, to the brick that it leads to.  All edges of such a path come in
 * one snapshot and go in one, so a bump never finds only half of a pair.
 *
 * Who wants to see what passes at a brick is put there when a snapshot is built (a probe):
 * the bricks' own edges stay as they are, so switches forget nothing, and a graph without
 * probes has no trace of them.
 *
 * vb_lock is the control side's lock of the graph.  It is held while waiting for
 * workers, so nobody that a worker may wait for must ever take it.  The vhost loop's
 * lock (vhost/loop.h) comes before it.
 */
#ifndef VB_GRAPH_H
#define VB_GRAPH_H

#include <pthread.h>

#include "core/brick.h"

extern pthread_mutex_t vb_lock;

struct vb_link {
	const struct vb_node *peer; /* NULL: no edge at this index */
	uint16_t peer_index;
};

/* A brick in a snapshot. */
struct vb_node {
	vb_push_fn *push; /* its ops' own, or see vb_graph_push_through() */
	const struct vb_brick_ops *ops;
	struct vb_brick *brick; /* for name and counters */
	void *state;
	uint16_t nb_links; /* slots, some of them without an edge */
	struct vb_link *links;
};

struct vb_poll {
	const struct vb_node *node;
	uint16_t edge;
};

struct vb_snapshot {
	struct vb_snapshot *next; /* among the retired */
	uint64_t token;		  /* free it once workers have passed this */
	uint32_t nb_polls;
	struct vb_poll *polls;
	struct vb_node nodes[];
};

/* Prepare for nb_workers workers.  -ENOMEM. */
int vb_graph_init(uint32_t nb_workers);

/* Put a brick into the list of bricks; lock not held. */
void vb_graph_add(struct vb_brick *brick);

/* The calls below want vb_lock held. */

/* Join a to b, and on to where b leads, and publish; the index on a's side goes to
 * *index.  before_publish, if not NULL, is called with a's index while no worker
 * knows of the edge yet.  -ENOSPC: too many edges.  -ENOMEM.
 */
int vb_graph_join(struct vb_brick *a, struct vb_brick *b,
	void (*before_publish)(void *arg, uint16_t index), void *arg, uint16_t *index);

/* Part the edge, and the path that begins with it, publish, wait for the workers, tell
 * the bricks.
 */
void vb_graph_part(struct vb_brick *a, uint16_t index);

/* Return when no worker uses what it could have seen before the call. */
void vb_graph_synchronise(void);

/* The same, lock not held. */
void vb_graph_wait(void);

/* What is behind brick has come back, or knows nothing yet, though its edges never went:
 * tell who is joined to it as if they were new.
 */
void vb_graph_renew(struct vb_brick *brick);

/* Part all edges of a brick. */
void vb_graph_isolate(struct vb_brick *brick);

/* The same, and take it out of the list. */
void vb_graph_remove(struct vb_brick *brick);

/* Have probe listen in: from now on what passes between "at" and whoever it is joined to,
 * now or later, passes through probe, a brick that is in no list and none of whose edges the
 * control side knows.  Its pairs are those of a bump in the wire, even towards "at" and odd
 * away from it, and it is one: its onward is set as long as it listens.  No other brick
 * notices, and no packet is lost by it.  -ENOMEM.
 */
int vb_graph_probe(struct vb_brick *probe, struct vb_brick *at);

/* Take it out again; returns when no worker uses it.  No harm if it is out already, as it
 * is when "at" has been removed.
 */
void vb_graph_unprobe(struct vb_brick *probe);

/* Whether it does; lock not held. */
static inline bool vb_graph_is_probing(const struct vb_brick *probe)
{
	return __atomic_load_n(&probe->onward, __ATOMIC_ACQUIRE) != NULL;
}

/* Have all pushes to bricks, probes aside, go through fn; NULL: no longer.  Returns when no
 * worker uses the one before.  -ENOMEM.
 */
int vb_graph_push_through(vb_push_fn *fn);

/* The first brick of the list; next ones by ->next. */
struct vb_brick *vb_graph_first(void);

/* ---- workers ---- */

/* A worker's life: online, rounds of (snapshot, work, quiescent), offline. */
void vb_graph_online(uint32_t worker);
void vb_graph_offline(uint32_t worker);
void vb_graph_quiescent(uint32_t worker);

/* The snapshot to run until the next quiescent state; never NULL. */
const struct vb_snapshot *vb_graph_snapshot(void);

/* What is at the other end of the path that begins with an edge of node. */
static inline const struct vb_node *vb_path_end(const struct vb_node *node, uint16_t edge)
{
	const struct vb_link *link = &node->links[edge];

	while (link->peer->brick->onward != NULL)
		link = &link->peer->links[VB_PARTNER(link->peer_index)];
	return link->peer;
}

/* Hand packets over an edge; consumes them. */
static inline void vb_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	const struct vb_link *link = &node->links[edge];

	if (likely(edge < node->nb_links && link->peer != NULL))
		link->peer->push(ctx, link->peer, link->peer_index, pkts, n);
	else
		vb_drop(vb_row(ctx, node->brick), VB_DROP_NO_PEER, pkts, n);
}

#endif
