/* SPDX-License-Identifier: Apache-2.0
 *
 * The sockets of one local address and UDP port, and what comes from them.
 *
 * One socket receives for all VNIs.  Others send, from ports of their own: RFC 7348
 * section 5 wants the source port to depend on the inner flow, so that the network
 * between the hosts can spread flows over its links.
 *
 * The sockets are not connected: the kernel then tells them of no ICMP error, and
 * a host that is down costs nothing but what is sent to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <rte_ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bricks/vxlan.h"

#define BUFFER (4 << 20) /* of a socket, bytes: some ms of a fast link */

static struct vxlan_endpoint *endpoints; /* host lock */

/* ---- the host thread ---- */

static void count_drop(struct vxlan_state *vx, enum vb_drop why)
{
	vb_host_lost(&vx->port, why);
}

static struct vxlan_state *find_vni(const struct vxlan_endpoint *ep, uint32_t vni)
{
	struct vxlan_state *vx = ep->by_vni[vni % VXLAN_BUCKETS];

	while (vx != NULL && vx->vni != vni)
		vx = vx->bucket_next;
	return vx;
}

/* Whose packet i is, or NULL; what is nobody's counts at the oldest tunnel. */
static struct vxlan_state *tunnel_of(const struct vxlan_endpoint *ep, uint16_t i)
{
	const struct rte_vxlan_hdr *header = &ep->headers[i];
	struct vxlan_state *vx;

	if (ep->msgs[i].msg_len < sizeof(*header) ||
		(header->vx_flags & RTE_BE32(VXLAN_VALID)) == 0) {
		count_drop(ep->tunnels, VB_DROP_BAD_TUNNEL);
		return NULL;
	}
	vx = find_vni(ep, rte_be_to_cpu_32(header->vx_vni) >> 8);
	if (vx == NULL)
		count_drop(ep->tunnels, VB_DROP_UNKNOWN_VNI);
	return vx;
}

static void learn(struct vxlan_state *vx, const struct rte_mbuf *m, uint16_t slot, uint32_t now_s)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t source = vb_mac_load(frame + RTE_ETHER_ADDR_LEN);

	if ((source & 1) == 0 && source != 0)
		vb_mac_learn(&vx->macs, source, slot, now_s);
}

/* Take packet i, or count why not; its buffer then serves for another one. */
static void receive(struct vxlan_endpoint *ep, uint16_t i, uint32_t now_s)
{
	const struct mmsghdr *msg = &ep->msgs[i];
	struct vxlan_state *vx = tunnel_of(ep, i);
	struct rte_mbuf *m = ep->pkts[i];
	uint32_t len;
	int slot;

	if (vx == NULL)
		return;
	slot = vxlan_remotes_find(vx->remotes, &ep->from[i]);
	len = msg->msg_len - sizeof(struct rte_vxlan_hdr);
	if (slot < 0) {
		count_drop(vx, VB_DROP_UNKNOWN_REMOTE);
	} else if ((msg->msg_hdr.msg_flags & MSG_TRUNC) != 0 || len > vx->max_frame) {
		count_drop(vx, VB_DROP_TOO_BIG);
	} else if (len < RTE_ETHER_HDR_LEN) {
		count_drop(vx, VB_DROP_TOO_SHORT);
	} else {
		ep->pkts[i] = NULL;
		vb_chain_trim(m, len);
		learn(vx, m, slot, now_s);
		vb_host_give(&vx->port, m);
	}
}

/* Buffers for a burst; returns for how many packets there are. */
static uint16_t prepare(struct vxlan_endpoint *ep)
{
	uint16_t i;

	for (i = 0; i < VB_BURST; i++) {
		struct iovec *iov = ep->iov[i];

		if (ep->pkts[i] == NULL)
			ep->pkts[i] = vb_chain_alloc(ep->segs, iov + 1);
		if (ep->pkts[i] == NULL)
			break;
		iov[0] = (struct iovec){&ep->headers[i], sizeof(ep->headers[i])};
		ep->msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &ep->from[i],
			.msg_namelen = sizeof(ep->from[i]),
			.msg_iov = iov,
			.msg_iovlen = 1 + ep->segs,
		};
	}
	return i;
}

/* Without buffers packets are lost, or epoll would tell of them for ever. */
static void discard(struct vxlan_endpoint *ep)
{
	char byte;

	for (int i = 0; i < VB_BURST && recv(ep->rx.fd, &byte, sizeof(byte), 0) >= 0; i++)
		count_drop(ep->tunnels, VB_DROP_NO_BUFFER);
}

static void endpoint_ready(struct vb_host_fd *rx, uint32_t events)
{
	struct vxlan_endpoint *ep = container_of(rx, struct vxlan_endpoint, rx);
	uint16_t room = prepare(ep);
	uint32_t now_s = vxlan_now_s();
	int n;

	(void)events; /* an error is gone once it has been read */
	if (room == 0) {
		discard(ep);
		return;
	}
	n = recvmmsg(ep->rx.fd, ep->msgs, room, 0, NULL);
	for (int i = 0; i < n; i++)
		receive(ep, i, now_s);
}

/* ---- control, host lock held ---- */

/* Options help but are not needed: what the kernel says to them is not looked at. */
static void set_option(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

/* See vxlan.c for why packets may be fragmented. */
static void allow_fragments(int fd, sa_family_t family)
{
	if (family == AF_INET)
		set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	else
		set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
}

/* Within the system's limit, and beyond it if we may. */
static void set_buffer(int fd, int option, int forced)
{
	set_option(fd, SOL_SOCKET, option, BUFFER);
	set_option(fd, SOL_SOCKET, forced, BUFFER);
}

static void set_up_receiver(int fd, sa_family_t family)
{
	set_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE);
	/* RFC 7348 has peers send zero for a checksum. */
	if (family == AF_INET6)
		set_option(fd, IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);
}

/* Nobody reads from it, so what is sent to its port shall not lie in its buffer. */
static void set_up_sender(int fd, sa_family_t family)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog filter = {.len = 1, .filter = &none};

	setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
	set_buffer(fd, SO_SNDBUF, SO_SNDBUFFORCE);
	allow_fragments(fd, family);
}

static int udp_open(const union vxlan_addr *addr, void (*set_up)(int fd, sa_family_t family))
{
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	set_up(fd, addr->sa.sa_family);
	if (bind(fd, &addr->sa, sizeof(*addr)) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

static int endpoint_open(struct vxlan_endpoint *ep)
{
	union vxlan_addr any_port = ep->local;

	any_port.in.sin_port = 0; /* lies where IPv6's does */
	ep->rx.fd = udp_open(&ep->local, set_up_receiver);
	if (ep->rx.fd < 0)
		return ep->rx.fd;
	for (int i = 0; i < VXLAN_FLOWS; i++) {
		ep->tx[i] = udp_open(&any_port, set_up_sender);
		if (ep->tx[i] < 0)
			return ep->tx[i];
	}
	return vb_host_watch(&ep->rx);
}

static void free_buffers(struct vxlan_endpoint *ep)
{
	for (int i = 0; i < VB_BURST; i++) {
		rte_pktmbuf_free(ep->pkts[i]);
		ep->pkts[i] = NULL;
	}
}

static void endpoint_free(struct vxlan_endpoint *ep)
{
	vb_host_unwatch(&ep->rx);
	if (ep->rx.fd >= 0)
		close(ep->rx.fd);
	for (int i = 0; i < VXLAN_FLOWS; i++)
		if (ep->tx[i] >= 0)
			close(ep->tx[i]);
	free_buffers(ep);
	free(ep);
}

static int endpoint_new(const union vxlan_addr *local, struct vxlan_endpoint **out)
{
	struct vxlan_endpoint *ep = calloc(1, sizeof(*ep));
	int ret;

	if (ep == NULL)
		return -ENOMEM;
	ep->local = *local;
	ep->rx = (struct vb_host_fd){.fd = -1, .ready = endpoint_ready};
	memset(ep->tx, 0xff, sizeof(ep->tx));
	ret = endpoint_open(ep);
	if (ret != 0) {
		endpoint_free(ep);
		return ret;
	}
	ep->next = endpoints;
	endpoints = ep;
	*out = ep;
	return 0;
}

static void endpoint_close(struct vxlan_endpoint *ep)
{
	struct vxlan_endpoint **p = &endpoints;

	while (*p != ep)
		p = &(*p)->next;
	*p = ep->next;
	endpoint_free(ep);
}

static struct vxlan_endpoint *endpoint_find(const union vxlan_addr *local)
{
	struct vxlan_endpoint *ep = endpoints;

	while (ep != NULL && (!vxlan_addr_same(&ep->local, local) ||
				     ep->local.in.sin_port != local->in.sin_port))
		ep = ep->next;
	return ep;
}

void vxlan_endpoint_fit(struct vxlan_endpoint *ep)
{
	uint16_t segs = 1;

	for (struct vxlan_state *vx = ep->tunnels; vx != NULL; vx = vx->next)
		segs = RTE_MAX(segs, vb_chain_segs(vx->max_frame));
	if (segs != ep->segs)
		free_buffers(ep);
	ep->segs = segs;
}

int vxlan_attach(struct vxlan_state *vx, const union vxlan_addr *local)
{
	struct vxlan_endpoint *ep = endpoint_find(local);
	struct vxlan_state **last, **bucket;
	int ret = 0;

	if (ep == NULL)
		ret = endpoint_new(local, &ep);
	else if (find_vni(ep, vx->vni) != NULL)
		ret = -EEXIST;
	if (ret != 0)
		return ret;
	for (last = &ep->tunnels; *last != NULL; last = &(*last)->next)
		;
	*last = vx;
	bucket = &ep->by_vni[vx->vni % VXLAN_BUCKETS];
	vx->bucket_next = *bucket;
	*bucket = vx;
	vx->endpoint = ep;
	vxlan_endpoint_fit(ep);
	return 0;
}

void vxlan_detach(struct vxlan_state *vx)
{
	struct vxlan_endpoint *ep = vx->endpoint;
	struct vxlan_state **p;

	if (ep == NULL)
		return;
	for (p = &ep->tunnels; *p != vx; p = &(*p)->next)
		;
	*p = vx->next;
	for (p = &ep->by_vni[vx->vni % VXLAN_BUCKETS]; *p != vx; p = &(*p)->bucket_next)
		;
	*p = vx->bucket_next;
	vx->endpoint = NULL;
	if (ep->tunnels == NULL)
		endpoint_close(ep);
	else
		vxlan_endpoint_fit(ep);
}
