/* SPDX-License-Identifier: Apache-2.0
 *
 * What a brick is, to the core and to the other bricks.
 *
 * A brick is a const table of functions and a state block.  On the control side
 * it is a struct vb_brick; in the graph that workers run it is a struct vb_node
 * of an immutable snapshot (see graph.h).  Edges have an index on either brick,
 * stable as long as the edge lives.
 *
 * Ownership of packets, stated once: push() consumes every mbuf it is given.
 * What it cannot deliver it frees and counts under a named reason, by vb_drop().
 */
#ifndef VB_BRICK_H
#define VB_BRICK_H

#include <rte_mbuf.h>

#include "core/count.h"
#include "core/decision.h"
#include "core/drop.h"
#include "vhost_brick.h"

#define VB_BURST 32
#define VB_EDGES_MAX 8192 /* of one brick; an edge's index fits the MAC table's 16 bits */
#define VB_NO_EDGE UINT16_MAX

/* The other edge of a pair: see "onward". */
#define VB_PARTNER(edge) ((edge) ^ 1)

/* Rows of counters for who is no worker: the host thread, who holds vb_lock. */
#define VB_ROW_HOST VB_WORKERS_MAX
#define VB_ROW_CONTROL (VB_WORKERS_MAX + 1)
#define VB_ROWS (VB_WORKERS_MAX + 2)

struct vb_node;

/* What a worker hands down its calls. */
struct vb_ctx {
	uint32_t worker;     /* its number: also its row of counters */
	uint32_t nb_workers; /* to share out queues */
	uint32_t now_s;	     /* coarse monotonic seconds, for ageing */
};

/* Counters of one brick and one thread; only that thread writes them. */
struct vb_counters {
	uint64_t from_peer_packets;
	uint64_t from_peer_bytes;
	uint64_t to_peer_packets;
	uint64_t to_peer_bytes;
	uint64_t made_packets;
	uint64_t drops[VB_DROPS_MAX];
} __rte_cache_aligned;

struct vb_edge {
	struct vb_brick *peer; /* NULL: no edge at this index */
	uint16_t peer_index;
};

/* Worker: take n packets, one at least and a burst at most, that came in over edge. */
typedef void vb_push_fn(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n);

struct vb_brick_ops {
	const char *kind;
	bool polled; /* pull() is called for each edge, by every worker */
	bool uplink; /* the host's side is a wire: switches and hosts beyond it learn from it */

	/* Worker: take packets from the host's side and vb_push() them over edge.
	 * Each queue is one worker's at a time (balance.h), who finds out by itself
	 * which are its own.  Returns how many packets it took.
	 */
	uint16_t (*pull)(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);

	/* Worker: whether news of edge can wake it, as far as it pulls there at all; see
	 * sleep.h.  NULL: never.
	 */
	bool (*can_wake)(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);

	/* Worker: see to it that what comes over edge from now on wakes it.  False: there is
	 * something to pull already.
	 */
	bool (*arm)(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);

	/* Worker: it does not sleep any more.  NULL: it is all the same. */
	void (*disarm)(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);

	vb_push_fn *push;

	/* Worker, for a trace only: where push() is about to send m, unless it drops it.  NULL:
	 * there is no choice.
	 */
	enum vb_decision (*decide)(const struct vb_ctx *ctx, const struct vb_node *node,
		uint16_t edge, const struct rte_mbuf *m);

	/* Control, lock held: workers use edge from now on; or what is beyond it has come
	 * back, see vb_graph_renew().
	 */
	void (*edge_up)(struct vb_brick *brick, uint16_t edge);

	/* Control, lock held: edge is gone and no worker uses it any more. */
	void (*edge_gone)(struct vb_brick *brick, uint16_t edge);

	/* Control, lock held; of a bump in the wire: whether a frame from the host's side
	 * would pass.  Counts nothing.  NULL: every one does.
	 */
	bool (*admits)(struct vb_brick *brick, const struct rte_mbuf *m);

	/* Control: add to out what the host's side counts by itself.  May be NULL. */
	void (*stats)(struct vb_brick *brick, struct vb_stats *out);

	/* Control, lock not held: stop the host's side; removes all edges of
	 * bricks that make their own.
	 */
	void (*quiesce)(struct vb_brick *brick);

	/* Control, lock not held: free the state.  No worker uses it any more. */
	void (*fini)(struct vb_brick *brick);
};

struct vb_brick {
	const struct vb_brick_ops *ops;
	void *state;
	/* Set before the brick is in the graph, by a bump in the wire, NULL elsewhere: the
	 * brick it leads to.  Its edges come in pairs: an even one to who was joined to it,
	 * and the odd one after it towards "onward".
	 */
	struct vb_brick *onward;
	struct vb_counters *rows; /* VB_ROWS of them */
	struct vb_edge *edges;	  /* guarded by vb_lock */
	uint16_t nb_slots;	  /* length of edges */
	uint16_t nb_edges;	  /* of those, in use */
	uint32_t node;		  /* its index in the snapshot being built */
	struct vb_brick *probe;	  /* the first of its probes, see vb_graph_probe() */
	struct vb_brick *next, **pprev;
	char name[VB_NAME_MAX];
};

/* Make a brick with its counters, not yet in the graph; NULL if out of memory.
 * The name is cut to VB_NAME_MAX - 1 bytes.
 */
struct vb_brick *vb_brick_new(const struct vb_brick_ops *ops, const char *name, void *state);

/* Free what vb_brick_new() made; not the state. */
void vb_brick_free(struct vb_brick *brick);

static inline struct vb_counters *vb_row(const struct vb_ctx *ctx, const struct vb_brick *brick)
{
	return &brick->rows[ctx->worker];
}

/* Free n packets and count why. */
void vb_drop(struct vb_counters *row, enum vb_drop why, struct rte_mbuf **pkts, uint16_t n);

/* A copy instead of m, which is consumed: nobody else's, in as few mbufs as it needs.
 * NULL: m is dropped for want of a buffer.
 */
struct rte_mbuf *vb_copy(struct vb_counters *row, struct rte_mbuf *m);

/* Whether the first segment of m may be written to: nobody else has it. */
static inline bool vb_is_own(const struct rte_mbuf *m)
{
	return rte_mbuf_refcnt_read(m) == 1 && RTE_MBUF_DIRECT(m);
}

/* Bytes in n packets. */
static inline uint64_t vb_bytes(struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++)
		bytes += pkts[i]->pkt_len;
	return bytes;
}

#endif
