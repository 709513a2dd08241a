/* SPDX-License-Identifier: Apache-2.0
 *
 * The tap brick: a kernel interface on a switch, so that a host reaches its VMs.
 *
 * Reading and writing a tap are system calls, so the host thread (host.h) does it.
 *
 * The interface is the daemon's (netlink.py makes it persistent); this brick
 * attaches to it and lets go again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/chain.h"
#include "core/event.h"
#include "core/graph.h"
#include "core/host.h"

struct tap_state {
	struct vb_host_port port;
	struct vb_host_fd fd;
	uint32_t max_frame;
};

/* ---- the host thread ---- */

/* Without buffers the kernel's frames are lost, or epoll would tell of them for ever. */
static bool tap_discard(struct tap_state *tap)
{
	char byte;

	if (read(tap->fd.fd, &byte, sizeof(byte)) <= 0)
		return false;
	vb_host_lost(&tap->port, VB_DROP_NO_BUFFER);
	return true;
}

/* Read one frame; false: the kernel has none. */
static bool tap_read(struct tap_state *tap)
{
	struct iovec iov[VB_CHAIN_SEGS];
	uint16_t segs = vb_chain_segs(tap->max_frame);
	struct rte_mbuf *m = vb_chain_alloc(segs, iov);
	ssize_t len;

	if (m == NULL)
		return tap_discard(tap);
	len = readv(tap->fd.fd, iov, segs);
	if (len <= 0) {
		rte_pktmbuf_free(m);
		return false;
	}
	vb_chain_trim(m, len);
	vb_host_give(&tap->port, m);
	return true;
}

/* Somebody deleted the interface: say so, and do not wake for it for ever. */
static void tap_lost(struct tap_state *tap)
{
	struct vb_event event = {.kind = VB_EVENT_FAULT, .fault = VB_FAULT_INTERFACE_GONE};

	vb_host_unwatch(&tap->fd);
	memcpy(event.brick, tap->port.brick->name, sizeof(event.brick));
	vb_event_raise(&event);
}

static void tap_ready(struct vb_host_fd *fd, uint32_t events)
{
	struct tap_state *tap = container_of(fd, struct tap_state, fd);

	if ((events & (EPOLLERR | EPOLLHUP)) != 0)
		tap_lost(tap);
	else
		for (int i = 0; i < VB_BURST && tap_read(tap); i++)
			;
}

static void tap_write(struct tap_state *tap, struct rte_mbuf *m)
{
	struct vb_counters *row = tap->port.row;
	struct iovec iov[VB_CHAIN_SEGS];
	uint16_t n = vb_chain_iov(m, iov);

	if (n == 0 || m->pkt_len > tap->max_frame) {
		vb_drop(row, VB_DROP_TOO_BIG, &m, 1);
		return;
	}
	if (writev(tap->fd.fd, iov, n) != (ssize_t)m->pkt_len) {
		vb_drop(row, VB_DROP_IO_ERROR, &m, 1);
		return;
	}
	vb_count(&row->to_peer_packets, 1);
	vb_count(&row->to_peer_bytes, m->pkt_len);
	rte_pktmbuf_free(m);
}

static bool tap_send(struct vb_host_port *port)
{
	struct rte_mbuf *m;
	int n = 0;

	while (n < VB_BURST && (m = vb_host_take(port)) != NULL) {
		tap_write((struct tap_state *)port, m);
		n++;
	}
	return n > 0;
}

/* ---- control ---- */

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

int vb_tap_set_mtu(struct vb_brick *brick, uint32_t mtu)
{
	struct tap_state *tap = brick->state;
	uint32_t max_frame = vb_chain_max_frame(mtu);

	if (max_frame == 0)
		return -EINVAL;
	vb_host_lock();
	tap->max_frame = max_frame;
	vb_host_unlock();
	return 0;
}

static int tap_start(struct vb_brick *brick, const char *ifname, uint32_t mtu, struct vb_brick *to)
{
	struct tap_state *tap = brick->state;
	int ret = vb_host_port_init(&tap->port, brick, tap_send);

	if (ret == 0)
		ret = vb_tap_set_mtu(brick, mtu);
	if (ret != 0)
		return ret;
	tap->fd.fd = tap_open(ifname);
	if (tap->fd.fd < 0)
		return tap->fd.fd;
	vb_host_lock();
	ret = vb_host_watch(&tap->fd);
	vb_host_unlock();
	return ret == 0 ? vb_host_port_start(&tap->port, to) : ret;
}

static void tap_quiesce(struct vb_brick *brick)
{
	struct tap_state *tap = brick->state;

	vb_host_lock();
	vb_host_unwatch(&tap->fd);
	vb_host_port_stop(&tap->port);
	vb_host_unlock();
}

static void tap_fini(struct vb_brick *brick)
{
	struct tap_state *tap = brick->state;

	if (tap->fd.fd >= 0)
		close(tap->fd.fd);
	vb_host_port_fini(&tap->port);
	free(tap);
}

static const struct vb_brick_ops tap_ops = {
	.kind = "tap",
	.polled = true,
	.uplink = true,
	.pull = vb_host_pull,
	.can_wake = vb_host_can_wake,
	.arm = vb_host_arm,
	.push = vb_host_push,
	.quiesce = tap_quiesce,
	.fini = tap_fini,
};

int vb_tap_create(const char *name, const char *ifname, uint32_t mtu, struct vb_brick *to,
	struct vb_brick **out)
{
	struct tap_state *tap = calloc(1, sizeof(*tap));
	struct vb_brick *brick = tap != NULL ? vb_brick_new(&tap_ops, name, tap) : NULL;
	int ret;

	if (brick == NULL) {
		free(tap);
		return -ENOMEM;
	}
	tap->fd = (struct vb_host_fd){.fd = -1, .ready = tap_ready};
	vb_graph_add(brick);
	ret = tap_start(brick, ifname, mtu, to);
	if (ret != 0) {
		vb_brick_destroy(brick);
		return ret;
	}
	*out = brick;
	return 0;
}
