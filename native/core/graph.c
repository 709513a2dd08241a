/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see graph.h.  Retired snapshots are kept with an RCU
 * token and freed by a later publish, so that adding an edge (a reconnecting
 * frontend) waits for nobody; only parting an edge waits.
 */
#include "core/graph.h"

#include <errno.h>
#include <rte_rcu_qsbr.h>
#include <stdlib.h>
#include <string.h>

#include "core/sleep.h"

pthread_mutex_t vb_lock = PTHREAD_MUTEX_INITIALIZER;

/* What workers run before the first change, and when there is no memory to
 * describe a smaller graph: a removal must not fail.
 */
static struct vb_snapshot empty;

static struct {
	struct vb_brick *bricks;
	struct vb_snapshot *current; /* atomic */
	struct vb_snapshot *retired;
	struct rte_rcu_qsbr *rcu;
	vb_push_fn *through;
} graph = {.current = &empty};

static struct vb_snapshot *snapshot_alloc(uint32_t nb_nodes, uint32_t nb_links, uint32_t nb_polls)
{
	size_t nodes = sizeof(struct vb_snapshot) + nb_nodes * sizeof(struct vb_node);
	size_t links = nb_links * sizeof(struct vb_link);
	size_t polls = nb_polls * sizeof(struct vb_poll);
	struct vb_snapshot *s = calloc(1, nodes + links + polls);

	if (s != NULL)
		s->polls = (struct vb_poll *)((char *)s + nodes + links);
	return s;
}

/* Add up what the bricks that have edges need. */
static void count_nodes(uint32_t *nb_nodes, uint32_t *nb_links, uint32_t *nb_polls)
{
	*nb_nodes = *nb_links = *nb_polls = 0;
	for (struct vb_brick *b = graph.bricks; b != NULL; b = b->next) {
		if (b->nb_edges == 0)
			continue;
		(*nb_nodes)++;
		*nb_links += b->nb_slots;
		if (b->ops->polled)
			*nb_polls += b->nb_edges;
		for (struct vb_brick *p = b->probe; p != NULL; p = p->next) {
			(*nb_nodes)++;
			*nb_links += 2 * b->nb_slots;
		}
	}
}

/* Not before there is room for them: the numbers are those of the last snapshot. */
static void number_nodes(void)
{
	uint32_t n = 0;

	for (struct vb_brick *b = graph.bricks; b != NULL; b = b->next) {
		if (b->nb_edges == 0)
			continue;
		b->node = n++;
		for (struct vb_brick *p = b->probe; p != NULL; p = p->next)
			p->node = n++;
	}
}

static void fill_node(struct vb_snapshot *s, struct vb_brick *b, struct vb_link *links)
{
	struct vb_node *node = &s->nodes[b->node];

	node->push = graph.through != NULL ? graph.through : b->ops->push;
	node->ops = b->ops;
	node->brick = b;
	node->state = b->state;
	node->nb_links = b->nb_slots;
	node->links = links;
	for (uint16_t i = 0; i < b->nb_slots; i++) {
		if (b->edges[i].peer == NULL)
			continue;
		links[i].peer = &s->nodes[b->edges[i].peer->node];
		links[i].peer_index = b->edges[i].peer_index;
		if (b->ops->polled)
			s->polls[s->nb_polls++] = (struct vb_poll){node, i};
	}
}

/* Put a probe between a brick and all it is joined to. */
static void splice(
	struct vb_node *at, struct vb_node *node, struct vb_brick *p, struct vb_link *links)
{
	*node = (struct vb_node){
		.push = p->ops->push,
		.ops = p->ops,
		.brick = p,
		.state = p->state,
		.nb_links = 2 * at->nb_links,
		.links = links,
	};
	for (uint16_t i = 0; i < at->nb_links; i++) {
		struct vb_link far = at->links[i];

		if (far.peer == NULL)
			continue;
		links[2 * i] = (struct vb_link){at, i};
		links[2 * i + 1] = far;
		far.peer->links[far.peer_index] = (struct vb_link){node, 2 * i + 1};
		at->links[i] = (struct vb_link){node, 2 * i};
	}
}

/* All others are there. */
static void splice_all(struct vb_snapshot *s, struct vb_link *links)
{
	for (struct vb_brick *b = graph.bricks; b != NULL; b = b->next) {
		if (b->nb_edges == 0)
			continue;
		for (struct vb_brick *p = b->probe; p != NULL; p = p->next) {
			splice(&s->nodes[b->node], &s->nodes[p->node], p, links);
			links += 2 * b->nb_slots;
		}
	}
}

static struct vb_snapshot *snapshot_build(void)
{
	uint32_t nb_nodes, nb_links, nb_polls;
	struct vb_snapshot *s;
	struct vb_link *links;

	count_nodes(&nb_nodes, &nb_links, &nb_polls);
	s = snapshot_alloc(nb_nodes, nb_links, nb_polls);
	if (s == NULL)
		return NULL;
	number_nodes();
	links = (struct vb_link *)&s->nodes[nb_nodes];
	for (struct vb_brick *b = graph.bricks; b != NULL; b = b->next) {
		if (b->nb_edges == 0)
			continue;
		fill_node(s, b, links);
		links += b->nb_slots;
	}
	splice_all(s, links);
	return s;
}

static void free_retired(void)
{
	struct vb_snapshot **p = &graph.retired;

	while (*p != NULL) {
		struct vb_snapshot *s = *p;

		if (rte_rcu_qsbr_check(graph.rcu, s->token, false) == 1) {
			*p = s->next;
			free(s);
		} else {
			p = &s->next;
		}
	}
}

/* Make s what workers run from their next round on. */
static void publish_snapshot(struct vb_snapshot *s)
{
	struct vb_snapshot *old = graph.current;

	__atomic_store_n(&graph.current, s, __ATOMIC_RELEASE);
	if (old != &empty) {
		old->token = rte_rcu_qsbr_start(graph.rcu);
		old->next = graph.retired;
		graph.retired = old;
	}
	vb_sleep_wake_all();
	free_retired();
}

static int publish(void)
{
	struct vb_snapshot *s = snapshot_build();

	if (s == NULL)
		return -ENOMEM;
	publish_snapshot(s);
	return 0;
}

void vb_graph_synchronise(void)
{
	/* What rte_rcu_qsbr_synchronize() does, but inline: TSan can follow it. */
	rte_rcu_qsbr_check(graph.rcu, rte_rcu_qsbr_start(graph.rcu), true);
}

void vb_graph_wait(void)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_synchronise();
	pthread_mutex_unlock(&vb_lock);
}

/* Publish a smaller graph and wait until no worker runs an older one. */
static void publish_and_wait(void)
{
	if (publish() != 0)
		publish_snapshot(&empty);
	vb_graph_synchronise();
	free_retired();
}

int vb_graph_init(uint32_t nb_workers)
{
	graph.rcu = aligned_alloc(RTE_CACHE_LINE_SIZE,
		RTE_ALIGN_CEIL(rte_rcu_qsbr_get_memsize(nb_workers), RTE_CACHE_LINE_SIZE));
	if (graph.rcu == NULL)
		return -ENOMEM;
	if (rte_rcu_qsbr_init(graph.rcu, nb_workers) != 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < nb_workers; i++)
		rte_rcu_qsbr_thread_register(graph.rcu, i);
	return 0;
}

void vb_graph_add(struct vb_brick *brick)
{
	pthread_mutex_lock(&vb_lock);
	brick->next = graph.bricks;
	brick->pprev = &graph.bricks;
	if (brick->next != NULL)
		brick->next->pprev = &brick->next;
	graph.bricks = brick;
	pthread_mutex_unlock(&vb_lock);
}

struct vb_brick *vb_graph_first(void)
{
	return graph.bricks;
}

/* An even one on a brick whose edges come in pairs: both of a pair come and go at once. */
static int free_slot(struct vb_brick *b)
{
	struct vb_edge *edges;
	uint16_t n;

	for (uint16_t i = 0; i < b->nb_slots; i++)
		if (b->edges[i].peer == NULL)
			return i;
	if (b->nb_slots >= VB_EDGES_MAX)
		return -ENOSPC;
	n = b->nb_slots == 0 ? 2 : b->nb_slots * 2;
	edges = realloc(b->edges, n * sizeof(*edges));
	if (edges == NULL)
		return -ENOMEM;
	memset(edges + b->nb_slots, 0, (n - b->nb_slots) * sizeof(*edges));
	b->edges = edges;
	b->nb_slots = n;
	return n == 2 ? 0 : n / 2;
}

static void edge_set(struct vb_brick *a, uint16_t i, struct vb_brick *b, uint16_t j)
{
	a->edges[i] = (struct vb_edge){b, j};
	a->nb_edges++;
	b->edges[j] = (struct vb_edge){a, i};
	b->nb_edges++;
}

static void edge_clear(struct vb_brick *a, uint16_t i)
{
	struct vb_edge *e = &a->edges[i], *f = &e->peer->edges[e->peer_index];

	e->peer->nb_edges--;
	a->nb_edges--;
	*f = (struct vb_edge){0};
	*e = (struct vb_edge){0};
}

static void edge_up(struct vb_brick *brick, uint16_t index)
{
	if (brick->ops->edge_up != NULL)
		brick->ops->edge_up(brick, index);
}

static void edge_gone(struct vb_brick *brick, uint16_t index)
{
	if (brick->ops->edge_gone != NULL)
		brick->ops->edge_gone(brick, index);
}

/* Join a to b, and b to where it leads; the last edge of the path publishes them all. */
static int path_join(struct vb_brick *a, uint16_t i, struct vb_brick *b)
{
	int j = free_slot(b), ret;

	if (j < 0)
		return j;
	edge_set(a, i, b, j);
	ret = b->onward != NULL ? path_join(b, VB_PARTNER(j), b->onward) : publish();
	if (ret != 0) {
		edge_clear(a, i);
		return ret;
	}
	edge_up(a, i);
	edge_up(b, j);
	return 0;
}

int vb_graph_join(struct vb_brick *a, struct vb_brick *b,
	void (*before_publish)(void *arg, uint16_t index), void *arg, uint16_t *index)
{
	int i = free_slot(a), ret;

	if (i < 0)
		return i;
	if (before_publish != NULL)
		before_publish(arg, i);
	ret = path_join(a, i, b);
	if (ret == 0)
		*index = i;
	return ret;
}

void vb_graph_part(struct vb_brick *a, uint16_t index)
{
	struct vb_edge edge = a->edges[index];

	edge_clear(a, index);
	/* The last edge of the path publishes that they are gone. */
	if (edge.peer->onward != NULL)
		vb_graph_part(edge.peer, VB_PARTNER(edge.peer_index));
	else
		publish_and_wait();
	edge_gone(a, index);
	edge_gone(edge.peer, edge.peer_index);
}

void vb_graph_renew(struct vb_brick *brick)
{
	for (uint16_t i = 0; i < brick->nb_slots; i++)
		if (brick->edges[i].peer != NULL)
			edge_up(brick->edges[i].peer, brick->edges[i].peer_index);
}

void vb_graph_isolate(struct vb_brick *brick)
{
	for (uint16_t i = 0; i < brick->nb_slots; i++)
		if (brick->edges[i].peer != NULL)
			vb_graph_part(brick, i);
}

void vb_graph_remove(struct vb_brick *brick)
{
	vb_graph_isolate(brick);
	while (brick->probe != NULL)
		vb_graph_unprobe(brick->probe);
	*brick->pprev = brick->next;
	if (brick->next != NULL)
		brick->next->pprev = brick->pprev;
}

int vb_graph_probe(struct vb_brick *probe, struct vb_brick *at)
{
	int ret;

	probe->next = at->probe;
	at->probe = probe;
	probe->onward = at;
	ret = publish();
	if (ret != 0) {
		at->probe = probe->next;
		probe->onward = NULL;
	}
	return ret;
}

void vb_graph_unprobe(struct vb_brick *probe)
{
	struct vb_brick **p;

	if (probe->onward == NULL)
		return;
	for (p = &probe->onward->probe; *p != probe; p = &(*p)->next)
		;
	*p = probe->next;
	publish_and_wait();
	/* Who waits for that reads it without the lock. */
	__atomic_store_n(&probe->onward, NULL, __ATOMIC_RELEASE);
}

int vb_graph_push_through(vb_push_fn *fn)
{
	vb_push_fn *before = graph.through;
	int ret;

	graph.through = fn;
	ret = publish();
	if (ret == 0)
		vb_graph_synchronise();
	else
		graph.through = before;
	return ret;
}

void vb_graph_online(uint32_t worker)
{
	rte_rcu_qsbr_thread_online(graph.rcu, worker);
}

void vb_graph_offline(uint32_t worker)
{
	rte_rcu_qsbr_thread_offline(graph.rcu, worker);
}

void vb_graph_quiescent(uint32_t worker)
{
	rte_rcu_qsbr_quiescent(graph.rcu, worker);
}

const struct vb_snapshot *vb_graph_snapshot(void)
{
	return __atomic_load_n(&graph.current, __ATOMIC_ACQUIRE);
}
