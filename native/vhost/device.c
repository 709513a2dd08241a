/* SPDX-License-Identifier: Apache-2.0
 *
 * What messages do; see device.h.
 */
#include "vhost/device_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhost/call.h"
#include "vhost/foreign.h"
#include "vhost/guard.h"

#define PROTOCOL_FEATURES                                                                         \
	(BIT(VHOST_PROTOCOL_MQ) | BIT(VHOST_PROTOCOL_LOG_SHMFD) | BIT(VHOST_PROTOCOL_RARP) |      \
		BIT(VHOST_PROTOCOL_REPLY_ACK) | BIT(VHOST_PROTOCOL_NET_MTU))

static const struct vhost_outcome fine;

static struct vhost_outcome bad(enum vb_fault fault)
{
	return (struct vhost_outcome){.fault = fault};
}

static void replace_fd(int *fd, int with)
{
	if (*fd >= 0)
		vhost_foreign_close(*fd);
	*fd = with;
}

int vhost_device_init(struct vhost_device *dev, uint64_t offered, uint32_t queues)
{
	size_t size = queues * 2 * sizeof(struct vhost_ring);

	memset(dev, 0, sizeof(*dev));
	dev->rings = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (dev->rings == NULL)
		return -ENOMEM;
	memset(dev->rings, 0, size);
	memset(dev->worker, VHOST_NO_WORKER, sizeof(dev->worker));
	dev->offered = offered;
	dev->nb_rings = queues * 2;
	for (uint32_t i = 0; i < dev->nb_rings; i++) {
		rte_spinlock_init(&dev->rings[i].lock);
		dev->setups[i].kick = dev->setups[i].call = -1;
	}
	return 0;
}

/* Forget what was said of a ring, but whether it is enabled. */
static void clear_setup(struct vhost_ring_setup *s)
{
	s->kicked = false;
	s->has_addr = false;
	s->size = 0;
}

/* ---- messages ---- */

static struct vhost_outcome answer(struct vhost_message *msg, uint64_t value)
{
	msg->payload.u64 = value;
	msg->header.size = sizeof(msg->payload.u64);
	return (struct vhost_outcome){.reply = true};
}

static struct vhost_outcome set_features(struct vhost_device *dev, uint64_t features)
{
	uint64_t changed = features ^ dev->features;

	if ((features & ~dev->offered) != 0)
		return bad(VB_FAULT_FEATURE_REFUSED);
	/* Under running rings only a migration may start or end. */
	if (dev->running != 0 && (changed & ~BIT(VHOST_USER_F_LOG_ALL)) != 0)
		return bad(VB_FAULT_BAD_MESSAGE);
	__atomic_store_n(&dev->features, features, __ATOMIC_RELAXED);
	dev->negotiated = true;
	/* Rings are enabled by message only if the frontend knows that message. */
	if (!vhost_device_has(dev, VHOST_USER_F_PROTOCOL_FEATURES))
		for (uint32_t i = 0; i < dev->nb_rings; i++)
			dev->setups[i].enabled = true;
	vhost_apply_all(dev);
	return fine;
}

static struct vhost_outcome set_protocol_features(struct vhost_device *dev, uint64_t features)
{
	if ((features & ~PROTOCOL_FEATURES) != 0)
		return bad(VB_FAULT_FEATURE_REFUSED);
	dev->protocol_features = features;
	return fine;
}

static struct vhost_outcome set_mem_table(
	struct vhost_device *dev, const struct vhost_message *msg, const int *fds)
{
	struct vhost_region_offer offers[VHOST_REGIONS_MAX];
	struct vhost_memory *old = dev->memory;
	uint32_t n = msg->payload.table.nb_regions;
	int ret;

	memcpy(offers, msg->payload.table.regions, sizeof(offers));
	if (!vhost_memory_plausible(offers, n)) {
		for (uint32_t i = 0; i < n; i++)
			vhost_foreign_close(fds[i]);
		return bad(VB_FAULT_BAD_MESSAGE);
	}
	ret = vhost_memory_map(offers, fds, n, &dev->memory);
	if (ret != 0)
		return (struct vhost_outcome){.fault = VB_FAULT_MEMORY_UNUSABLE, .refused = true};
	vhost_apply_all(dev);
	vhost_memory_unmap(old);
	for (uint32_t i = 0; i < dev->nb_rings; i++)
		if (vhost_is_crooked(dev, i))
			return bad(VB_FAULT_BAD_MESSAGE);
	return fine;
}

static struct vhost_outcome set_log_base(
	struct vhost_device *dev, struct vhost_message *msg, int fd)
{
	const struct vhost_log_base base = msg->payload.log;
	struct vhost_log *old = dev->log;

	if (vhost_log_map(fd, base.size, base.offset, &dev->log) != 0)
		return bad(VB_FAULT_BAD_MESSAGE);
	vhost_apply_all(dev);
	vhost_log_unmap(old);
	/* QEMU waits for an answer, and for one without payload. */
	msg->header.size = 0;
	return (struct vhost_outcome){.reply = true};
}

static struct vhost_outcome set_vring_num(struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num == 0 || state.num > VHOST_RING_SIZE_MAX ||
		(state.num & (state.num - 1)) != 0 || vhost_running(dev, state.index) != NULL)
		return bad(VB_FAULT_BAD_MESSAGE);
	dev->setups[state.index].size = state.num;
	return fine;
}

static struct vhost_outcome set_vring_addr(
	struct vhost_device *dev, const struct vhost_ring_addr *addr)
{
	struct vhost_ring_setup *s = &dev->setups[addr->index];
	struct vhost_ring_setup wanted = *s;
	struct vhost_vring where;

	wanted.addr = *addr;
	wanted.has_addr = true;
	if (dev->memory != NULL && s->size != 0 && !vhost_locate(dev, &wanted, &where))
		return bad(VB_FAULT_BAD_MESSAGE);
	*s = wanted;
	vhost_apply(dev, addr->index, addr->index);
	return fine;
}

static struct vhost_outcome set_vring_base(struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num > UINT16_MAX || vhost_running(dev, state.index) != NULL)
		return bad(VB_FAULT_BAD_MESSAGE);
	dev->setups[state.index].base = state.num;
	return fine;
}

static struct vhost_outcome get_vring_base(struct vhost_device *dev, struct vhost_message *msg)
{
	uint32_t i = msg->payload.state.index;
	struct vhost_ring_setup *s = &dev->setups[i];
	bool ran = vhost_running(dev, i) != NULL;

	clear_setup(s);
	vhost_apply(dev, i, i);
	/* No worker has it any more. */
	if (ran)
		s->base = dev->rings[i].next;
	vhost_share_ignore_kicks(dev, i / 2);
	replace_fd(&s->kick, -1);
	replace_fd(&s->call, -1);
	msg->payload.state.num = s->base;
	return (struct vhost_outcome){.reply = true};
}

static struct vhost_outcome set_vring_kick(struct vhost_device *dev, uint32_t i, int fd)
{
	vhost_share_ignore_kicks(dev, i / 2);
	replace_fd(&dev->setups[i].kick, fd);
	vhost_share_heed_kicks(dev, i / 2);
	dev->setups[i].kicked = true;
	vhost_apply(dev, i, i);
	return vhost_is_crooked(dev, i) ? bad(VB_FAULT_BAD_MESSAGE) : fine;
}

static struct vhost_outcome set_vring_call(struct vhost_device *dev, uint32_t i, int fd)
{
	struct vhost_ring_setup *s = &dev->setups[i];
	int old = s->call;

	s->call = fd;
	vhost_apply(dev, i, i);
	if (old >= 0)
		vhost_foreign_close(old);
	/* What has come in between went to the old one, or to nobody. */
	if (vhost_running(dev, i) != NULL)
		vhost_vring_call(vhost_running(dev, i));
	return fine;
}

static struct vhost_outcome set_vring_enable(
	struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num > 1)
		return bad(VB_FAULT_BAD_MESSAGE);
	dev->setups[state.index].enabled = state.num;
	vhost_apply_masks(dev);
	return fine;
}

static struct vhost_outcome reset_owner(struct vhost_device *dev)
{
	for (uint32_t i = 0; i < dev->nb_rings; i++) {
		clear_setup(&dev->setups[i]);
		dev->setups[i].enabled = false;
	}
	dev->negotiated = false;
	vhost_apply_all(dev);
	__atomic_store_n(&dev->features, 0, __ATOMIC_RELAXED);
	return fine;
}

/* Whether a message brings an eventfd that is none: a write to something else may do, or
 * wait for, anything.
 */
static bool has_false_eventfd(const struct vhost_message *msg, int fd)
{
	switch (msg->header.request) {
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
		return fd >= 0 && !vhost_call_is_eventfd(fd);
	default:
		return false;
	}
}

static struct vhost_outcome dispatch(struct vhost_device *dev, struct vhost_message *msg, int *fds)
{
	uint32_t ring = msg->payload.u64 & VHOST_RING_INDEX;
	struct vhost_ring_addr addr;

	if (has_false_eventfd(msg, fds[0])) {
		replace_fd(&fds[0], -1);
		return bad(VB_FAULT_BAD_MESSAGE);
	}
	switch (msg->header.request) {
	case VHOST_GET_FEATURES:
		return answer(msg, dev->offered);
	case VHOST_SET_FEATURES:
		return set_features(dev, msg->payload.u64);
	case VHOST_GET_PROTOCOL_FEATURES:
		return answer(msg, PROTOCOL_FEATURES);
	case VHOST_SET_PROTOCOL_FEATURES:
		return set_protocol_features(dev, msg->payload.u64);
	case VHOST_GET_QUEUE_NUM:
		return answer(msg, dev->nb_rings / 2);
	case VHOST_RESET_OWNER:
		return reset_owner(dev);
	case VHOST_SET_MEM_TABLE:
		return set_mem_table(dev, msg, fds);
	case VHOST_SET_LOG_BASE:
		return set_log_base(dev, msg, fds[0]);
	case VHOST_SET_VRING_NUM:
		return set_vring_num(dev, msg->payload.state);
	case VHOST_SET_VRING_ADDR:
		addr = msg->payload.addr;
		return set_vring_addr(dev, &addr);
	case VHOST_SET_VRING_BASE:
		return set_vring_base(dev, msg->payload.state);
	case VHOST_GET_VRING_BASE:
		return get_vring_base(dev, msg);
	case VHOST_SET_VRING_KICK:
		return set_vring_kick(dev, ring, fds[0]);
	case VHOST_SET_VRING_CALL:
		return set_vring_call(dev, ring, fds[0]);
	case VHOST_SET_VRING_ERR:
		/* We have another way to tell of errors. */
		replace_fd(&fds[0], -1);
		return fine;
	case VHOST_SET_VRING_ENABLE:
		return set_vring_enable(dev, msg->payload.state);
	case VHOST_SEND_RARP:
		return (struct vhost_outcome){.rarp = true};
	default:
		/* SET_OWNER, NET_SET_MTU: nothing follows from them. */
		return fine;
	}
}

struct vhost_outcome vhost_device_handle(
	struct vhost_device *dev, struct vhost_message *msg, const int *fds, uint32_t nb_fds)
{
	int own[VHOST_REGIONS_MAX] = {-1};

	memcpy(own, fds, nb_fds * sizeof(*fds));
	return dispatch(dev, msg, own);
}

/* ---- life ---- */

void vhost_device_wake(struct vhost_device *dev)
{
	dev->follows = false;
	vhost_apply_all(dev);
}

void vhost_device_mute(struct vhost_device *dev, bool muted)
{
	dev->muted = muted;
	vhost_apply_masks(dev);
}

void vhost_device_forget_memory(struct vhost_device *dev)
{
	struct vhost_memory *old = dev->memory;

	dev->memory = NULL;
	vhost_apply_all(dev);
	vhost_memory_unmap(old);
}

bool vhost_device_lost_memory(const struct vhost_device *dev)
{
	return (dev->memory != NULL && vhost_memory_lost(dev->memory)) ||
	       (dev->log != NULL && vhost_guard_lost(dev->log->guard));
}

uint64_t vhost_device_refused(const struct vhost_device *dev)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < dev->nb_rings; i++)
		sum += vb_count_read(&dev->rings[i].refused);
	return sum;
}

void vhost_device_fini(struct vhost_device *dev)
{
	for (uint32_t i = 0; i < dev->nb_rings; i++) {
		free(dev->rings[i].vring);
		replace_fd(&dev->setups[i].kick, -1);
		replace_fd(&dev->setups[i].call, -1);
	}
	vhost_memory_unmap(dev->memory);
	vhost_log_unmap(dev->log);
	free(dev->rings);
}
