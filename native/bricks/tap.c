/* SPDX-License-Identifier: Apache-2.0
 *
 * The tap brick: a kernel interface on a switch, so that a host reaches its VMs.
 *
 * Reading and writing a tap are system calls, which the forwarding path does not
 * make.  So one host thread serves all taps, and two rings lie between it and
 * the workers: "rx" from the kernel, "tx" to the kernel.  A worker wakes the
 * thread through an eventfd only when it says that it is about to sleep.
 *
 * The interface is the daemon's (netlink.py makes it persistent); this brick
 * attaches to it and lets go again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/event.h"
#include "core/graph.h"
#include "core/runtime.h"

#define TAP_RING 1024
#define TAP_SEGS 8 /* mbufs of one frame at most: a jumbo frame has 5 */

struct tap_state {
	int fd;
	uint16_t segs; /* mbufs that the largest frame needs */
	uint32_t max_frame;
	struct rte_ring *rx; /* host thread -> workers */
	struct rte_ring *tx; /* workers -> host thread */
	struct vb_counters *host_row;
	const char *name; /* the brick's */
	struct tap_state *next;
};

static struct {
	pthread_mutex_t lock; /* guards taps and every fd, against removal */
	pthread_t thread;
	bool running;
	bool sleeping; /* atomic: a worker that finds it set wakes the thread */
	int epoll;
	int wake;
	struct tap_state *taps;
} host = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- workers ---- */

static uint16_t tap_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	struct tap_state *tap = node->state;
	struct vb_counters *row = vb_row(ctx, node->brick);
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t n;

	/* One worker a tap keeps the kernel's order. */
	if (ctx->worker != 0)
		return 0;
	n = rte_ring_sc_dequeue_burst(tap->rx, (void **)pkts, VB_BURST, NULL);
	if (n == 0)
		return 0;
	vb_count(&row->from_peer_packets, n);
	vb_count(&row->from_peer_bytes, vb_bytes(pkts, n));
	vb_push(ctx, node, edge, pkts, n);
	return n;
}

static void wake_host(void)
{
	uint64_t one = 1;

	if (__atomic_exchange_n(&host.sleeping, false, __ATOMIC_SEQ_CST))
		(void)!write(host.wake, &one, sizeof(one));
}

static void tap_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct tap_state *tap = node->state;
	uint16_t sent = rte_ring_mp_enqueue_burst(tap->tx, (void **)pkts, n, NULL);

	(void)edge;
	if (sent < n)
		vb_drop(vb_row(ctx, node->brick), VB_DROP_RING_FULL, pkts + sent, n - sent);
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&host.sleeping, __ATOMIC_RELAXED))
		wake_host();
}

/* ---- the host thread, host.lock held ---- */

static struct rte_mbuf *chain_alloc(uint16_t segs, struct iovec *iov)
{
	struct rte_mbuf *m[TAP_SEGS];

	if (rte_pktmbuf_alloc_bulk(vb_pool, m, segs) != 0)
		return NULL;
	for (uint16_t i = 0; i < segs; i++) {
		iov[i].iov_base = rte_pktmbuf_mtod(m[i], void *);
		iov[i].iov_len = rte_pktmbuf_tailroom(m[i]);
		m[i]->next = i + 1 < segs ? m[i + 1] : NULL;
	}
	m[0]->nb_segs = segs;
	return m[0];
}

/* Set the lengths of a chain that len bytes were read into; free what is unused. */
static void chain_trim(struct rte_mbuf *head, uint32_t len)
{
	struct rte_mbuf *m = head;

	head->pkt_len = len;
	head->nb_segs = 1;
	for (;;) {
		uint16_t room = rte_pktmbuf_tailroom(m);

		m->data_len = RTE_MIN(len, room);
		len -= m->data_len;
		if (len == 0)
			break;
		m = m->next;
		head->nb_segs++;
	}
	/* The rest is a chain of its own, of single, unused mbufs. */
	for (struct rte_mbuf *rest = m->next, *next; rest != NULL; rest = next) {
		next = rest->next;
		rest->next = NULL;
		rte_pktmbuf_free_seg(rest);
	}
	m->next = NULL;
}

/* Read frames until the kernel has no more or a burst is full. */
static void tap_read(struct tap_state *tap)
{
	for (int i = 0; i < VB_BURST; i++) {
		struct iovec iov[TAP_SEGS];
		struct rte_mbuf *m = chain_alloc(tap->segs, iov);
		ssize_t len;

		if (m == NULL) {
			vb_count(&tap->host_row->drops[VB_DROP_NO_BUFFER], 1);
			return;
		}
		len = readv(tap->fd, iov, tap->segs);
		if (len <= 0) {
			rte_pktmbuf_free(m);
			return;
		}
		chain_trim(m, len);
		if (rte_ring_sp_enqueue(tap->rx, m) != 0)
			vb_drop(tap->host_row, VB_DROP_RING_FULL, &m, 1);
	}
}

static void tap_write_one(struct tap_state *tap, struct rte_mbuf *m)
{
	struct vb_counters *row = tap->host_row;
	struct iovec iov[TAP_SEGS];
	struct rte_mbuf *seg = m;
	int n = 0;

	if (m->pkt_len > tap->max_frame || m->nb_segs > TAP_SEGS) {
		vb_drop(row, VB_DROP_TOO_BIG, &m, 1);
		return;
	}
	for (; seg != NULL; seg = seg->next)
		iov[n++] = (struct iovec){rte_pktmbuf_mtod(seg, void *), seg->data_len};
	if (writev(tap->fd, iov, n) != (ssize_t)m->pkt_len) {
		vb_drop(row, VB_DROP_IO_ERROR, &m, 1);
		return;
	}
	vb_count(&row->to_peer_packets, 1);
	vb_count(&row->to_peer_bytes, m->pkt_len);
	rte_pktmbuf_free(m);
}

static bool tap_write(struct tap_state *tap)
{
	struct rte_mbuf *pkts[VB_BURST];
	unsigned int n = rte_ring_sc_dequeue_burst(tap->tx, (void **)pkts, VB_BURST, NULL);

	for (unsigned int i = 0; i < n; i++)
		tap_write_one(tap, pkts[i]);
	return n > 0;
}

static bool write_all(void)
{
	bool more = false;

	for (struct tap_state *tap = host.taps; tap != NULL; tap = tap->next)
		more |= tap_write(tap);
	return more;
}

/* Somebody deleted the interface: say so, and do not wake for it for ever. */
static void tap_lost(struct tap_state *tap)
{
	struct vb_event event = {.kind = VB_EVENT_FAULT, .fault = VB_FAULT_INTERFACE_GONE};

	epoll_ctl(host.epoll, EPOLL_CTL_DEL, tap->fd, NULL);
	memcpy(event.brick, tap->name, sizeof(event.brick));
	vb_event_raise(&event);
}

static void tap_ready(struct tap_state *tap, uint32_t events)
{
	if ((events & (EPOLLERR | EPOLLHUP)) != 0)
		tap_lost(tap);
	else
		tap_read(tap);
}

/* The taps that the kernel has news of.  A removed one is in the list no more. */
static void read_ready(const struct epoll_event *events, int n)
{
	for (struct tap_state *tap = host.taps; tap != NULL; tap = tap->next)
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == tap->fd)
				tap_ready(tap, events[i].events);
}

static void *host_main(void *arg)
{
	struct epoll_event events[64];
	uint64_t value;

	for (;;) {
		bool more;
		int n;

		pthread_mutex_lock(&host.lock);
		__atomic_store_n(&host.sleeping, true, __ATOMIC_SEQ_CST);
		more = write_all();
		pthread_mutex_unlock(&host.lock);

		n = epoll_wait(host.epoll, events, RTE_DIM(events), more ? 0 : -1);
		__atomic_store_n(&host.sleeping, false, __ATOMIC_RELAXED);
		(void)!read(host.wake, &value, sizeof(value));

		pthread_mutex_lock(&host.lock);
		read_ready(events, n);
		pthread_mutex_unlock(&host.lock);
	}
	return arg;
}

/* ---- control ---- */

static int epoll_add(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(host.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Start the host thread with the first tap; it lives as long as the process. */
static int host_start(void)
{
	int ret;

	if (host.running)
		return 0;
	host.epoll = epoll_create1(EPOLL_CLOEXEC);
	host.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (host.epoll < 0 || host.wake < 0)
		return -errno;
	ret = epoll_add(host.wake);
	if (ret == 0)
		ret = vb_thread_start(&host.thread, "vb-tap", host_main, NULL);
	host.running = ret == 0;
	return ret;
}

static int tap_open(const char *ifname)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd;

	if (strlen(ifname) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	strcpy(ifr.ifr_name, ifname);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static int set_mtu(struct tap_state *tap, uint32_t mtu)
{
	uint32_t room = RTE_MBUF_DEFAULT_DATAROOM;
	uint32_t max_frame = mtu + RTE_ETHER_HDR_LEN + 4; /* a VLAN tag may be inside */

	if (max_frame > TAP_SEGS * room)
		return -EINVAL;
	tap->max_frame = max_frame;
	tap->segs = (max_frame + room - 1) / room;
	return 0;
}

int vb_tap_set_mtu(struct vb_brick *brick, uint32_t mtu)
{
	int ret;

	pthread_mutex_lock(&host.lock);
	ret = set_mtu(brick->state, mtu);
	pthread_mutex_unlock(&host.lock);
	return ret;
}

static int tap_init(struct tap_state *tap, const char *ifname, uint32_t mtu)
{
	static uint32_t number;
	char name[RTE_RING_NAMESIZE];
	int ret = set_mtu(tap, mtu);

	if (ret != 0)
		return ret;
	tap->fd = tap_open(ifname);
	if (tap->fd < 0)
		return tap->fd;
	snprintf(name, sizeof(name), "vb_tap_rx_%u", number);
	tap->rx = rte_ring_create(name, TAP_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "vb_tap_tx_%u", number++);
	tap->tx = rte_ring_create(name, TAP_RING, SOCKET_ID_ANY, RING_F_SC_DEQ);
	return tap->rx == NULL || tap->tx == NULL ? -ENOMEM : 0;
}

static void ring_free(struct rte_ring *ring)
{
	struct rte_mbuf *m;

	while (ring != NULL && rte_ring_sc_dequeue(ring, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(ring);
}

static void tap_free(struct tap_state *tap)
{
	if (tap->fd >= 0)
		close(tap->fd);
	ring_free(tap->rx);
	ring_free(tap->tx);
	free(tap);
}

static void tap_quiesce(struct vb_brick *brick)
{
	struct tap_state *tap = brick->state, **p = &host.taps;

	pthread_mutex_lock(&host.lock);
	while (*p != NULL && *p != tap)
		p = &(*p)->next;
	if (*p == tap) {
		*p = tap->next;
		epoll_ctl(host.epoll, EPOLL_CTL_DEL, tap->fd, NULL);
	}
	pthread_mutex_unlock(&host.lock);
}

static void tap_fini(struct vb_brick *brick)
{
	tap_free(brick->state);
}

static const struct vb_brick_ops tap_ops = {
	.kind = "tap",
	.polled = true,
	.pull = tap_pull,
	.push = tap_push,
	.quiesce = tap_quiesce,
	.fini = tap_fini,
};

static int host_serve(struct tap_state *tap)
{
	int ret;

	pthread_mutex_lock(&host.lock);
	ret = host_start();
	if (ret == 0)
		ret = epoll_add(tap->fd);
	if (ret == 0) {
		tap->next = host.taps;
		host.taps = tap;
	}
	pthread_mutex_unlock(&host.lock);
	return ret;
}

int vb_tap_create(const char *name, const char *ifname, uint32_t mtu, struct vb_brick *to,
	struct vb_brick **out)
{
	struct tap_state *tap = calloc(1, sizeof(*tap));
	struct vb_brick *brick;
	uint16_t edge;
	int ret;

	if (tap == NULL)
		return -ENOMEM;
	tap->fd = -1;
	ret = tap_init(tap, ifname, mtu);
	brick = ret == 0 ? vb_brick_new(&tap_ops, name, tap) : NULL;
	if (brick == NULL) {
		tap_free(tap);
		return ret != 0 ? ret : -ENOMEM;
	}
	tap->host_row = &brick->rows[VB_ROW_HOST];
	tap->name = brick->name;
	vb_graph_add(brick);
	pthread_mutex_lock(&vb_lock);
	ret = vb_graph_join(brick, to, NULL, NULL, &edge);
	pthread_mutex_unlock(&vb_lock);
	if (ret == 0)
		ret = host_serve(tap);
	if (ret != 0) {
		vb_brick_destroy(brick);
		return ret;
	}
	*out = brick;
	return 0;
}
