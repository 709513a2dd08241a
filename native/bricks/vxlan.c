/* SPDX-License-Identifier: Apache-2.0
 *
 * The vxlan brick: one network's tunnel to other hosts (RFC 7348).
 *
 * It has one edge, to the network's switch, so what comes from a host never goes to
 * another host.  It learns which remote host has an inner address from where packets
 * come, sends a frame for a known address there, and a copy of all others to each
 * host (head-end replication: no multicast in the network between the hosts).
 * Packets of who is no remote host are dropped: a tunnel has no other guard.
 *
 * The outer packets are those of the kernel's UDP sockets, on purpose: routing, ARP
 * and neighbour discovery, bonds, path MTU, firewall and IPv6 are the host's, as the
 * operator has set them up and knows them, and no card is taken from the kernel.
 * The price is a system call for a burst and the kernel's work for each packet, on
 * one thread: the host thread (host.h), never a worker.  Workers only move packets
 * to and from its rings; to whom a packet goes is decided on that thread too, so
 * that the remote hosts can be replaced under its lock.
 *
 * One endpoint (vxlan_endpoint.c) serves all VNIs of a local address and port.  A
 * ring for each VNI, not for the endpoint, says whose a packet is: it may be shared
 * with other receivers, so nothing can be written into it.
 *
 * A full socket buffer loses packets (ring_full).  To keep them until the kernel has
 * room would only fill the ring before it, later, and delay what is in it.
 *
 * Outer packets may be fragmented (no DF): RFC 7348 section 4.3 would have a network
 * large enough for them, and where it is not a slow network is better than one that
 * loses all large frames.  The operator should give networks 50 bytes less than the
 * hosts have (70 with IPv6).
 *
 * Counters: the peer is the remote hosts, bytes are those of inner frames, and a
 * frame counts once for each host it is sent to.  Workers count what they take from
 * the rings; all the rest is the host thread's row.
 */
#define _GNU_SOURCE
#include "bricks/vxlan.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/graph.h"

uint32_t vxlan_now_s(void)
{
	return vb_monotonic_ns() / 1000000000;
}

int vb_vxlan_set_mtu(struct vb_brick *brick, uint32_t mtu)
{
	struct vxlan_state *vx = brick->state;
	uint32_t max_frame = vb_chain_max_frame(mtu);

	if (max_frame == 0)
		return -EINVAL;
	vb_host_lock();
	vx->max_frame = max_frame;
	vxlan_endpoint_fit(vx->endpoint);
	vb_host_unlock();
	return 0;
}

/* Read the remote hosts' addresses. */
static int parse_remotes(const struct vxlan_endpoint *ep, const char *const *addresses, uint32_t n,
	union vxlan_addr *out)
{
	uint16_t port = rte_be_to_cpu_16(ep->local.in.sin_port);

	for (uint32_t i = 0; i < n; i++)
		if (vxlan_addr_parse(addresses[i], port, &out[i]) != 0 ||
			out[i].sa.sa_family != ep->local.sa.sa_family ||
			vxlan_addr_same(&out[i], &ep->local))
			return -EINVAL;
	return 0;
}

static int replace_remotes(struct vxlan_state *vx, const union vxlan_addr *wanted, uint32_t n)
{
	struct vxlan_remotes *old = vx->remotes, *new = vxlan_remotes_new(wanted, n, old);

	if (new == NULL)
		return -ENOMEM;
	vb_host_lock();
	vx->remotes = new;
	vb_host_unlock();
	/* Nobody learns for them any more, and their slots are free until the next
	 * change: the host thread need not wait for a walk through the table.
	 */
	for (uint32_t slot = 0; slot < old->nb_slots; slot++)
		if (vxlan_remotes_has(old, slot) && !vxlan_remotes_has(new, slot))
			vb_mac_table_forget(&vx->macs, slot);
	free(old);
	return 0;
}

static void renew(struct vb_brick *brick)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_renew(brick);
	pthread_mutex_unlock(&vb_lock);
}

int vb_vxlan_set_remotes(struct vb_brick *brick, const char *const *addresses, uint32_t n)
{
	struct vxlan_state *vx = brick->state;
	union vxlan_addr *wanted;
	bool first = false;
	int ret;

	if (n > VB_REMOTES_MAX)
		return -E2BIG;
	wanted = calloc(n + 1, sizeof(*wanted));
	if (wanted == NULL)
		return -ENOMEM;
	ret = parse_remotes(vx->endpoint, addresses, n, wanted);
	if (ret == 0) {
		pthread_mutex_lock(&vx->changing);
		first = vx->remotes->n == 0;
		ret = replace_remotes(vx, wanted, n);
		pthread_mutex_unlock(&vx->changing);
	}
	free(wanted);
	/* What was told when the edge came up, nobody was there to hear. */
	if (ret == 0 && first && n > 0)
		renew(brick);
	return ret;
}

static void vxlan_quiesce(struct vb_brick *brick)
{
	struct vxlan_state *vx = brick->state;

	vb_host_lock();
	vb_host_port_stop(&vx->port);
	vxlan_detach(vx);
	vb_host_unlock();
}

static void vxlan_fini(struct vb_brick *brick)
{
	struct vxlan_state *vx = brick->state;

	vb_host_port_fini(&vx->port);
	vb_mac_table_fini(&vx->macs);
	free(vx->remotes);
	pthread_mutex_destroy(&vx->changing);
	free(vx);
}

static const struct vb_brick_ops vxlan_ops = {
	.kind = "vxlan",
	.polled = true,
	.uplink = true,
	.pull = vb_host_pull,
	.can_wake = vb_host_can_wake,
	.arm = vb_host_arm,
	.push = vb_host_push,
	.quiesce = vxlan_quiesce,
	.fini = vxlan_fini,
};

static int vxlan_init(struct vxlan_state *vx, const struct vb_vxlan_config *config)
{
	vx->vni = config->vni;
	vx->max_frame = vb_chain_max_frame(config->mtu);
	if (vx->vni == 0 || vx->vni > VXLAN_VNI_MAX || vx->max_frame == 0)
		return -EINVAL;
	vx->header.vx_flags = RTE_BE32(VXLAN_VALID);
	vx->header.vx_vni = rte_cpu_to_be_32(vx->vni << 8);
	vx->remotes = vxlan_remotes_new(NULL, 0, NULL);
	if (vx->remotes == NULL)
		return -ENOMEM;
	return vb_mac_table_init(&vx->macs, config->mac_table_size, config->mac_ageing_s);
}

static int vxlan_start(
	struct vb_brick *brick, const struct vb_vxlan_config *config, struct vb_brick *to)
{
	struct vxlan_state *vx = brick->state;
	union vxlan_addr local;
	int ret = vxlan_addr_parse(config->local, config->port, &local);

	if (ret != 0 || config->port == 0)
		return -EINVAL;
	ret = vb_host_port_init(&vx->port, brick, vxlan_send);
	if (ret == 0)
		ret = vxlan_init(vx, config);
	if (ret != 0)
		return ret;
	vb_host_lock();
	ret = vxlan_attach(vx, &local);
	vb_host_unlock();
	return ret == 0 ? vb_host_port_start(&vx->port, to) : ret;
}

int vb_vxlan_create(const char *name, const struct vb_vxlan_config *config, struct vb_brick *to,
	struct vb_brick **out)
{
	struct vxlan_state *vx = calloc(1, sizeof(*vx));
	struct vb_brick *brick = vx != NULL ? vb_brick_new(&vxlan_ops, name, vx) : NULL;
	int ret;

	if (brick == NULL) {
		free(vx);
		return -ENOMEM;
	}
	pthread_mutex_init(&vx->changing, NULL);
	vb_graph_add(brick);
	ret = vxlan_start(brick, config, to);
	if (ret != 0) {
		vb_brick_destroy(brick);
		return ret;
	}
	*out = brick;
	return 0;
}
