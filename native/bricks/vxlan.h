/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the vxlan brick share:
 *
 *   vxlan.c           the brick: its theory of operation, create and destroy
 *   vxlan_endpoint.c  the sockets of a local address, and packets from them
 *   vxlan_send.c      packets to the remote hosts
 *   vxlan_remotes.c   addresses, and the set of remote hosts
 */
#ifndef VB_VXLAN_H
#define VB_VXLAN_H

#include <netinet/in.h>
#include <pthread.h>
#include <rte_vxlan.h>

#include "bricks/mac_table.h"
#include "core/chain.h"
#include "core/host.h"

/* RFC 7348 section 5: the I flag, as the header's first word has it. */
#define VXLAN_VALID 0x08000000
#define VXLAN_VNI_MAX 0xffffff

#define VXLAN_FLOWS 8	  /* sending sockets of an endpoint */
#define VXLAN_BUCKETS 256 /* of the table of VNIs */

/* ---- vxlan_remotes.c ---- */

union vxlan_addr {
	struct sockaddr sa; /* AF_UNSPEC: none */
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* The hosts that a network has; never changed once made. */
struct vxlan_remotes {
	uint32_t n;
	uint32_t nb_slots;	  /* a power of two */
	uint16_t *index;	  /* 2 * nb_slots places, by hash: slot + 1, or 0 */
	union vxlan_addr slots[]; /* a host is a slot, some are free */
};

/* Read the numeric address of one host.  -EINVAL. */
int vxlan_addr_parse(const char *text, uint16_t port, union vxlan_addr *out);

/* Whether it is the same host; ports do not count. */
bool vxlan_addr_same(const union vxlan_addr *a, const union vxlan_addr *b);

/* The n wanted hosts (doubles do no harm).  Those that old (or NULL) has keep their
 * slots, and none of the others gets a slot that is in use in old.  NULL: no memory.
 */
struct vxlan_remotes *vxlan_remotes_new(
	const union vxlan_addr *wanted, uint32_t n, const struct vxlan_remotes *old);

/* The slot of a host, or -1. */
int vxlan_remotes_find(const struct vxlan_remotes *r, const union vxlan_addr *addr);

static inline bool vxlan_remotes_has(const struct vxlan_remotes *r, uint32_t slot)
{
	return slot < r->nb_slots && r->slots[slot].sa.sa_family != AF_UNSPEC;
}

/* ---- the brick ---- */

/* The state of a vxlan brick, one network's tunnel.  Guarded by the host lock but
 * for what is said.
 */
struct vxlan_state {
	struct vb_host_port port;
	struct vxlan_endpoint *endpoint;
	struct rte_vxlan_hdr header; /* of what it sends */
	uint32_t vni;
	uint32_t max_frame;
	struct vxlan_remotes *remotes;
	struct vb_mac_table macs;	 /* inner address -> slot of a remote; no lock needed */
	pthread_mutex_t changing;	 /* one change of remotes at a time */
	struct vxlan_state *next;	 /* of the endpoint */
	struct vxlan_state *bucket_next; /* of those with the same bucket */
};

/* ---- vxlan_endpoint.c ---- */

/* A local address and port: what all VNIs of it share. */
struct vxlan_endpoint {
	struct vb_host_fd rx;
	int tx[VXLAN_FLOWS];
	union vxlan_addr local;
	struct vxlan_state *tunnels; /* the oldest first; never none */
	struct vxlan_state *by_vni[VXLAN_BUCKETS];
	struct vxlan_endpoint *next;

	/* The next burst: a chain, its pieces behind a header, and the sender, each. */
	uint16_t segs; /* mbufs of a chain: enough for every tunnel */
	struct rte_mbuf *pkts[VB_BURST];
	struct rte_vxlan_hdr headers[VB_BURST];
	union vxlan_addr from[VB_BURST];
	struct iovec iov[VB_BURST][1 + VB_CHAIN_SEGS];
	struct mmsghdr msgs[VB_BURST];
};

/* Host lock held.  Receive what is for vx at local; the endpoint is opened for the
 * first, closed behind the last one.  -EEXIST: another brick has the VNI there.
 * -EADDRNOTAVAIL, -EADDRINUSE and what else sockets say.
 */
int vxlan_attach(struct vxlan_state *vx, const union vxlan_addr *local);

/* Does nothing if it is not attached. */
void vxlan_detach(struct vxlan_state *vx);

/* A tunnel's max_frame has changed: fit the buffers. */
void vxlan_endpoint_fit(struct vxlan_endpoint *ep);

/* ---- vxlan_send.c ---- */

/* struct vb_host_port's send(). */
bool vxlan_send(struct vb_host_port *port);

/* ---- the host thread ---- */

/* The MAC table's clock: coarse monotonic seconds. */
uint32_t vxlan_now_s(void);

#endif
