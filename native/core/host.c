/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see host.h.  The thread's round: send what all ports have,
 * sleep until the kernel or a worker has news, receive.
 *
 * Of news that epoll told before a change of what is watched nothing is believed,
 * since it may be about a file descriptor that is closed, or another's by now; what
 * still holds is told again.
 */
#define _GNU_SOURCE
#include "core/host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/balance.h"
#include "core/clock.h"
#include "core/graph.h"
#include "core/loan.h"
#include "core/runtime.h"
#include "core/watchdog.h"

#define RING 1024
#define FINISH_NS 10000000 /* a worker that hangs is nobody to wait for */

static struct {
	/* The thread is its reader, and control its writers, for the sake of the
	 * preference: a mutex that a busy thread takes again at once would starve them.
	 */
	pthread_rwlock_t lock;
	pthread_t thread;
	bool running;
	bool sleeping; /* atomic: a worker that finds it set wakes the thread */
	int epoll;
	int wake;
	uint32_t generation; /* of the set of watched fds */
	struct vb_host_port *ports;
	struct vb_pulse pulse;
} host = {.lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP, .epoll = -1, .wake = -1};

/* ---- workers ---- */

uint16_t vb_host_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	struct vb_host_port *port = node->state;
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t n;

	/* One worker a port keeps the kernel's order. */
	if (port->worker != ctx->worker)
		return 0;
	n = rte_ring_sc_dequeue_burst(port->rx, (void **)pkts, VB_BURST, NULL);
	if (n == 0)
		return 0;
	vb_push(ctx, node, edge, pkts, n);
	return n;
}

/* rte_ring_empty(), by loads of which TSan knows that others may store meanwhile. */
static bool is_empty(const struct rte_ring *ring)
{
	return __atomic_load_n(&ring->prod.tail, __ATOMIC_RELAXED) ==
	       __atomic_load_n(&ring->cons.tail, __ATOMIC_RELAXED);
}

bool vb_host_can_wake(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	(void)ctx;
	(void)node;
	(void)edge;
	return true;
}

/* Who puts something into the ring after this look wakes the worker. */
bool vb_host_arm(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vb_host_port *port = node->state;

	(void)edge;
	return port->worker != ctx->worker || is_empty(port->rx);
}

static void wake_host(void)
{
	uint64_t one = 1;

	if (__atomic_exchange_n(&host.sleeping, false, __ATOMIC_SEQ_CST))
		(void)!write(host.wake, &one, sizeof(one));
}

void vb_host_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct vb_host_port *port = node->state;
	uint16_t sent;

	(void)edge;
	n = vb_loans_end(vb_row(ctx, node->brick), pkts, n);
	sent = rte_ring_mp_enqueue_burst(port->tx, (void **)pkts, n, NULL);
	if (sent < n)
		vb_drop(vb_row(ctx, node->brick), VB_DROP_RING_FULL, pkts + sent, n - sent);
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&host.sleeping, __ATOMIC_RELAXED))
		wake_host();
}

/* ---- the host thread ---- */

struct rte_mbuf *vb_host_take(struct vb_host_port *port)
{
	struct rte_mbuf *m = vb_finish_next(&port->finish, port->row);

	while (m == NULL && rte_ring_sc_dequeue(port->tx, (void **)&m) == 0) {
		vb_finish_begin(&port->finish, port->row, m, 0);
		m = vb_finish_next(&port->finish, port->row);
	}
	return m;
}

static bool send_all(void)
{
	bool more = false;

	for (struct vb_host_port *port = host.ports; port != NULL; port = port->next)
		more |= port->send(port);
	return more;
}

/* Send, and if there was nothing be about to sleep; true: do not sleep yet. */
static bool send_or_sleep(void)
{
	if (send_all())
		return true;
	/* Say so, then look again: who pushes after this look wakes us. */
	__atomic_store_n(&host.sleeping, true, __ATOMIC_RELAXED);
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
	return send_all();
}

static void receive_all(const struct epoll_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		struct vb_host_fd *fd = events[i].data.ptr;
		uint64_t value;

		if (fd == NULL)
			(void)!read(host.wake, &value, sizeof(value));
		else
			fd->ready(fd, events[i].events);
	}
}

static void *host_main(void *arg)
{
	struct epoll_event events[64];

	vb_pulse_start(&host.pulse, "the host thread");
	for (;;) {
		uint32_t generation;
		bool more;
		int n;

		vb_pulse_work(&host.pulse);
		pthread_rwlock_rdlock(&host.lock);
		generation = host.generation;
		more = send_or_sleep();
		pthread_rwlock_unlock(&host.lock);

		vb_pulse_idle(&host.pulse);
		n = epoll_wait(host.epoll, events, RTE_DIM(events), more ? 0 : -1);
		vb_pulse_work(&host.pulse);
		__atomic_store_n(&host.sleeping, false, __ATOMIC_RELAXED);

		pthread_rwlock_rdlock(&host.lock);
		if (host.generation == generation)
			receive_all(events, n);
		pthread_rwlock_unlock(&host.lock);
	}
	return arg;
}

/* ---- control ---- */

void vb_host_lock(void)
{
	pthread_rwlock_wrlock(&host.lock);
}

void vb_host_unlock(void)
{
	pthread_rwlock_unlock(&host.lock);
}

static int epoll_add(int fd, struct vb_host_fd *data)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};

	return epoll_ctl(host.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int host_start(void)
{
	int ret;

	host.epoll = epoll_create1(EPOLL_CLOEXEC);
	host.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ret = host.epoll < 0 || host.wake < 0 ? -errno : epoll_add(host.wake, NULL);
	if (ret == 0)
		ret = vb_thread_start(&host.thread, "vb-host", host_main, NULL);
	if (ret == 0) {
		host.running = true;
		return 0;
	}
	close(host.epoll);
	close(host.wake);
	return ret;
}

int vb_host_watch(struct vb_host_fd *fd)
{
	int ret = host.running ? 0 : host_start();

	return ret == 0 ? epoll_add(fd->fd, fd) : ret;
}

void vb_host_unwatch(struct vb_host_fd *fd)
{
	epoll_ctl(host.epoll, EPOLL_CTL_DEL, fd->fd, NULL);
	host.generation++;
}

/* Not in DPDK's memory, where there is room for 2560 names. */
static struct rte_ring *ring_new(unsigned int flags)
{
	size_t size = rte_ring_get_memsize(RING);
	struct rte_ring *ring = aligned_alloc(
		RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(size, (size_t)RTE_CACHE_LINE_SIZE));

	if (ring != NULL)
		rte_ring_init(ring, "", RING, flags);
	return ring;
}

/* Nobody else has the port any more, so its row of counters is ours. */
static void ring_free(struct vb_host_port *port, struct rte_ring *ring)
{
	struct rte_mbuf *m;

	while (ring != NULL && rte_ring_sc_dequeue(ring, (void **)&m) == 0)
		vb_drop(port->row, VB_DROP_NO_PEER, &m, 1);
	free(ring);
}

int vb_host_port_init(
	struct vb_host_port *port, struct vb_brick *brick, bool (*send)(struct vb_host_port *port))
{
	port->brick = brick;
	port->row = &brick->rows[VB_ROW_HOST];
	port->send = send;
	port->worker = vb_balance_take();
	port->rx = ring_new(RING_F_SP_ENQ | RING_F_SC_DEQ);
	port->tx = ring_new(RING_F_SC_DEQ);
	return port->rx == NULL || port->tx == NULL ? -ENOMEM : 0;
}

void vb_host_port_fini(struct vb_host_port *port)
{
	if (port->brick == NULL)
		return;
	vb_finish_drop(&port->finish, port->row, VB_DROP_NO_PEER);
	vb_balance_give(port->worker);
	ring_free(port, port->rx);
	ring_free(port, port->tx);
}

int vb_host_port_start(struct vb_host_port *port, struct vb_brick *to)
{
	uint16_t edge;
	int ret;

	/* In this order, or what is pushed in between would wait for the next wake. */
	vb_host_lock();
	port->next = host.ports;
	host.ports = port;
	vb_host_unlock();
	pthread_mutex_lock(&vb_lock);
	ret = vb_graph_join(port->brick, to, NULL, NULL, &edge);
	pthread_mutex_unlock(&vb_lock);
	return ret;
}

void vb_host_port_stop(struct vb_host_port *port)
{
	struct vb_host_port **p = &host.ports;

	while (*p != NULL && *p != port)
		p = &(*p)->next;
	if (*p == port)
		*p = port->next;
}

void vb_host_finish(void)
{
	uint64_t end = vb_monotonic_ns() + FINISH_NS;

	vb_host_lock();
	for (struct vb_host_port *port = host.ports; port != NULL; port = port->next)
		while (!is_empty(port->rx) && vb_monotonic_ns() < end)
			sched_yield();
}

void vb_host_flush(void)
{
	while (send_all())
		;
}
