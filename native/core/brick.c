/* SPDX-License-Identifier: Apache-2.0
 *
 * A brick's life: made by its own file, listed in the graph, destroyed here in
 * the order quiesce (no new edges), out of the graph, workers passed, free.  Its
 * counters are kept, with those of all that went before.
 */
#include "core/brick.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph.h"
#include "core/pool.h"

static struct vb_stats gone; /* vb_lock */

struct vb_brick *vb_brick_new(const struct vb_brick_ops *ops, const char *name, void *state)
{
	struct vb_brick *brick = calloc(1, sizeof(*brick));
	size_t size = VB_ROWS * sizeof(struct vb_counters);

	if (brick == NULL)
		return NULL;
	brick->rows = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (brick->rows == NULL) {
		free(brick);
		return NULL;
	}
	memset(brick->rows, 0, size);
	brick->ops = ops;
	brick->state = state;
	snprintf(brick->name, sizeof(brick->name), "%s", name);
	return brick;
}

void vb_brick_free(struct vb_brick *brick)
{
	free(brick->edges);
	free(brick->rows);
	free(brick);
}

void vb_drop(struct vb_counters *row, enum vb_drop why, struct rte_mbuf **pkts, uint16_t n)
{
	vb_count(&row->drops[why], n);
	rte_pktmbuf_free_bulk(pkts, n);
}

struct rte_mbuf *vb_copy(struct vb_counters *row, struct rte_mbuf *m)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(m, vb_buffers(), 0, UINT32_MAX);

	if (copy == NULL)
		vb_drop(row, VB_DROP_NO_BUFFER, &m, 1);
	else
		rte_pktmbuf_free(m);
	return copy;
}

static void add_row(struct vb_stats *to, const struct vb_counters *row)
{
	to->from_peer_packets += vb_count_read(&row->from_peer_packets);
	to->from_peer_bytes += vb_count_read(&row->from_peer_bytes);
	to->to_peer_packets += vb_count_read(&row->to_peer_packets);
	to->to_peer_bytes += vb_count_read(&row->to_peer_bytes);
	to->made_packets += vb_count_read(&row->made_packets);
	for (uint32_t d = 0; d < VB_DROPS; d++)
		to->drops[d] += vb_count_read(&row->drops[d]);
}

static void add_rows(struct vb_stats *to, const struct vb_brick *brick)
{
	for (uint32_t i = 0; i < VB_ROWS; i++)
		add_row(to, &brick->rows[i]);
}

/* Free the state; the counters, and what is dropped with the state, are kept. */
static void bury(struct vb_brick *brick)
{
	pthread_mutex_lock(&vb_lock);
	if (brick->ops->stats != NULL)
		brick->ops->stats(brick, &gone);
	pthread_mutex_unlock(&vb_lock);
	brick->ops->fini(brick);
	pthread_mutex_lock(&vb_lock);
	add_rows(&gone, brick);
	pthread_mutex_unlock(&vb_lock);
	vb_brick_free(brick);
}

int vb_brick_destroy(struct vb_brick *brick)
{
	pthread_mutex_lock(&vb_lock);
	/* A brick without a host's side is what others are joined to. */
	if (brick->ops->quiesce == NULL && brick->nb_edges != 0) {
		pthread_mutex_unlock(&vb_lock);
		return -EBUSY;
	}
	pthread_mutex_unlock(&vb_lock);

	if (brick->ops->quiesce != NULL)
		brick->ops->quiesce(brick);
	pthread_mutex_lock(&vb_lock);
	vb_graph_remove(brick);
	pthread_mutex_unlock(&vb_lock);
	bury(brick);
	return 0;
}

void vb_brick_stats(struct vb_brick *brick, struct vb_stats *out)
{
	memset(out, 0, sizeof(*out));
	add_rows(out, brick);
	if (brick->ops->stats != NULL)
		brick->ops->stats(brick, out);
}

void vb_gone_stats(struct vb_stats *out)
{
	pthread_mutex_lock(&vb_lock);
	*out = gone;
	pthread_mutex_unlock(&vb_lock);
}

uint32_t vb_brick_edges(struct vb_brick *brick)
{
	uint32_t n;

	pthread_mutex_lock(&vb_lock);
	n = brick->nb_edges;
	pthread_mutex_unlock(&vb_lock);
	return n;
}
