/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a frontend wants to what runs: a ring's setup for workers is built whole, put
 * in place of the old one by one store, and the old one is freed when they have passed.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>

#include "core/graph.h"
#include "core/offload.h"
#include "core/sleep.h"
#include "vhost/device_parts.h"

struct vhost_vring *vhost_running(const struct vhost_device *dev, uint32_t i)
{
	return dev->rings[i].vring;
}

bool vhost_locate(
	const struct vhost_device *dev, const struct vhost_ring_setup *s, struct vhost_vring *v)
{
	const struct vhost_memory *m = dev->memory;
	uint64_t n = s->size;

	v->desc = vhost_memory_at_uva(m, s->addr.desc, n * sizeof(*v->desc));
	v->avail = vhost_memory_at_uva(
		m, s->addr.avail, sizeof(*v->avail) + (n + 1) * sizeof(uint16_t));
	v->used = vhost_memory_at_uva(
		m, s->addr.used, sizeof(*v->used) + n * sizeof(*v->used->ring) + sizeof(uint16_t));
	return v->desc != NULL && v->avail != NULL && v->used != NULL &&
	       (uintptr_t)v->desc % 16 == 0 && (uintptr_t)v->avail % 2 == 0 &&
	       (uintptr_t)v->used % 4 == 0;
}

static bool is_complete(const struct vhost_device *dev, const struct vhost_ring_setup *s)
{
	return dev->memory != NULL && dev->negotiated && s->size != 0 && s->has_addr && s->kicked;
}

/* What may be left to the receiver of a ring's frames: segmentation only together with
 * checksums (virtio 1.1 section 5.1.3.1).
 */
static uint8_t offloads(const struct vhost_device *dev, bool from_guest)
{
	uint8_t agreed = VB_OFFLOAD_CSUM;

	if (!vhost_device_has(dev, from_guest ? VIRTIO_NET_F_CSUM : VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	if (vhost_device_has(dev, from_guest ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_GUEST_TSO4))
		agreed |= VB_OFFLOAD_TSO4;
	if (vhost_device_has(dev, from_guest ? VIRTIO_NET_F_HOST_TSO6 : VIRTIO_NET_F_GUEST_TSO6))
		agreed |= VB_OFFLOAD_TSO6;
	return agreed;
}

/* How ring i is to run, or NULL: not, or (without memory) not yet. */
static struct vhost_vring *build(const struct vhost_device *dev, uint32_t i)
{
	const struct vhost_ring_setup *s = &dev->setups[i];
	struct vhost_vring *v;

	if (dev->follows || !is_complete(dev, s))
		return NULL;
	v = calloc(1, sizeof(*v));
	if (v == NULL || !vhost_locate(dev, s, v)) {
		free(v);
		return NULL;
	}
	v->size = s->size;
	v->header_len = vhost_device_has(dev, VIRTIO_NET_F_MRG_RXBUF) ||
					vhost_device_has(dev, VIRTIO_F_VERSION_1)
				? sizeof(struct virtio_net_hdr_mrg_rxbuf)
				: sizeof(struct virtio_net_hdr);
	v->indirect = vhost_device_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	v->event_idx = vhost_device_has(dev, VIRTIO_RING_F_EVENT_IDX);
	v->mergeable = vhost_device_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	v->offloads = offloads(dev, i == VHOST_RING_FROM_GUEST(i / 2));
	v->memory = dev->memory;
	v->log = vhost_device_has(dev, VHOST_USER_F_LOG_ALL) ? dev->log : NULL;
	v->log_used = (s->addr.flags & VHOST_RING_LOG) != 0 ? s->addr.log : VHOST_NO_LOG;
	v->call = s->call;
	return v;
}

void vhost_apply_masks(struct vhost_device *dev)
{
	uint64_t run = 0, enabled = 0;

	for (uint32_t i = 0; i < dev->nb_rings; i += 2) {
		if (vhost_running(dev, i) == NULL || vhost_running(dev, i + 1) == NULL)
			continue;
		run |= BIT(i / 2);
		if (dev->setups[i].enabled && dev->setups[i + 1].enabled && !dev->muted)
			enabled |= BIT(i / 2);
	}
	dev->running = run;
	__atomic_store_n(&dev->enabled, enabled, __ATOMIC_RELAXED);
	vhost_share_out(dev);
	/* Who sleeps has armed what was there before. */
	vb_sleep_wake_all();
}

/* Run ring i as it is set up now; returns how it ran before. */
static struct vhost_vring *replace(struct vhost_device *dev, uint32_t i)
{
	struct vhost_ring *ring = &dev->rings[i];
	struct vhost_vring *old = ring->vring, *v = build(dev, i);

	if (old == NULL && v != NULL) {
		/* Not the base that was set: virtio-user says 0 after a restart of ours. */
		vhost_ring_reset(ring, vhost_vring_used_index(v));
		vhost_ring_hush(ring, v);
	}
	__atomic_store_n(&ring->vring, v, __ATOMIC_RELEASE);
	/* Who served the ring before us may have died before it told the guest. */
	if (old == NULL && v != NULL)
		vhost_vring_call(v);
	return old;
}

void vhost_apply(struct vhost_device *dev, uint32_t first, uint32_t last)
{
	struct vhost_vring *old[VHOST_RINGS_MAX];
	bool any = false;

	for (uint32_t i = first; i <= last; i++) {
		old[i] = replace(dev, i);
		any |= old[i] != NULL;
	}
	vhost_apply_masks(dev);
	if (any)
		vb_graph_wait();
	for (uint32_t i = first; i <= last; i++)
		free(old[i]);
}

void vhost_apply_all(struct vhost_device *dev)
{
	vhost_apply(dev, 0, dev->nb_rings - 1);
}

bool vhost_is_crooked(const struct vhost_device *dev, uint32_t i)
{
	struct vhost_vring where;

	return is_complete(dev, &dev->setups[i]) && !vhost_locate(dev, &dev->setups[i], &where);
}
