/* SPDX-License-Identifier: Apache-2.0
 *
 * What messages do; see device.h.
 */
#include "vhost/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "core/balance.h"
#include "core/graph.h"
#include "core/offload.h"
#include "core/sleep.h"
#include "vhost/call.h"
#include "vhost/foreign.h"
#include "vhost/guard.h"

#define BIT(n) (1ULL << (n))

#define PROTOCOL_FEATURES                                                                         \
	(BIT(VHOST_PROTOCOL_MQ) | BIT(VHOST_PROTOCOL_LOG_SHMFD) | BIT(VHOST_PROTOCOL_RARP) |      \
		BIT(VHOST_PROTOCOL_REPLY_ACK) | BIT(VHOST_PROTOCOL_NET_MTU))

static const struct vhost_outcome fine;

static struct vhost_outcome bad(enum vb_fault fault)
{
	return (struct vhost_outcome){.fault = fault};
}

static bool has(const struct vhost_device *dev, uint32_t feature)
{
	return (dev->features & BIT(feature)) != 0;
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

/* ---- whose a queue pair is ---- */

/* Let kicks of a pair wake its worker, which without that does not sleep. */
static void heed_kicks(struct vhost_device *dev, uint32_t pair)
{
	uint32_t i = VHOST_RING_FROM_GUEST(pair);
	int kick = dev->setups[i].kick;
	bool heeded = dev->worker[pair] != VHOST_NO_WORKER && kick >= 0 &&
		      vb_sleep_watch(dev->worker[pair], kick) == 0;

	__atomic_store_n(&dev->rings[i].kicks, heeded, __ATOMIC_RELEASE);
}

/* Before their eventfd is closed or the worker changes. */
static void ignore_kicks(struct vhost_device *dev, uint32_t pair)
{
	uint32_t i = VHOST_RING_FROM_GUEST(pair);

	if (!dev->rings[i].kicks)
		return;
	__atomic_store_n(&dev->rings[i].kicks, false, __ATOMIC_RELEASE);
	vb_sleep_unwatch(dev->worker[pair], dev->setups[i].kick);
}

/* The pair, which is nobody's, is a worker's that has counted it already. */
static void give_to(struct vhost_device *dev, uint32_t pair, uint32_t worker)
{
	struct vhost_hand *hand = &dev->hands[worker];

	dev->worker[pair] = worker;
	heed_kicks(dev, pair);
	__atomic_store_n(&hand->own, hand->own | BIT(pair), __ATOMIC_RELEASE);
}

/* It is nobody's any more; the worker may still be at it. */
static void take_away(struct vhost_device *dev, uint32_t pair)
{
	struct vhost_hand *hand = &dev->hands[dev->worker[pair]];

	__atomic_store_n(&hand->own, hand->own & ~BIT(pair), __ATOMIC_RELAXED);
	ignore_kicks(dev, pair);
	dev->worker[pair] = VHOST_NO_WORKER;
}

/* Have what is enabled counted as load.  Pairs stay with their workers when it is not. */
static void share_out(struct vhost_device *dev)
{
	uint64_t wanted = dev->served ? dev->enabled : 0, changed = wanted ^ dev->counted;

	for (; changed != 0; changed &= changed - 1) {
		uint32_t pair = __builtin_ctzll(changed);

		if ((wanted & BIT(pair)) == 0)
			vb_balance_give(dev->worker[pair]);
		else if (dev->worker[pair] == VHOST_NO_WORKER)
			give_to(dev, pair, vb_balance_take());
		else
			vb_balance_add(dev->worker[pair]);
	}
	dev->counted = wanted;
}

void vhost_device_serve(struct vhost_device *dev, bool serve)
{
	dev->served = serve;
	share_out(dev);
	for (uint32_t pair = 0; !serve && pair < VB_QUEUES_MAX; pair++)
		if (dev->worker[pair] != VHOST_NO_WORKER)
			take_away(dev, pair);
}

/* Return when no worker uses what was replaced before. */
static void wait_for_workers(void)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_synchronise();
	pthread_mutex_unlock(&vb_lock);
}

/* A worker that sleeps looks again at what is its own when it wakes, and who is awake has
 * passed: so between the two workers nobody has the ring.
 */
static void move(struct vhost_device *dev, uint32_t pair)
{
	const struct vhost_ring *ring = &dev->rings[VHOST_RING_FROM_GUEST(pair)];

	vb_balance_give(dev->worker[pair]);
	take_away(dev, pair);
	wait_for_workers();
	if (ring->vring != NULL)
		vhost_ring_hush(ring, ring->vring);
	give_to(dev, pair, vb_balance_take());
	vb_sleep_wake_all();
}

void vhost_device_rebalance(struct vhost_device *dev)
{
	for (uint64_t pairs = dev->counted; pairs != 0; pairs &= pairs - 1) {
		uint32_t pair = __builtin_ctzll(pairs);

		if (!vb_balance_heavy(dev->worker[pair]))
			continue;
		move(dev, pair);
		return;
	}
}

/* ---- from what is wanted to what runs ---- */

static struct vhost_vring *running(const struct vhost_device *dev, uint32_t i)
{
	return dev->rings[i].vring;
}

/* Where the parts of a ring lie with us; false: not in the guest's memory, or crooked
 * (virtio 1.1 section 2.6: alignments and sizes).
 */
static bool locate(
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

	if (!has(dev, from_guest ? VIRTIO_NET_F_CSUM : VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	if (has(dev, from_guest ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_GUEST_TSO4))
		agreed |= VB_OFFLOAD_TSO4;
	if (has(dev, from_guest ? VIRTIO_NET_F_HOST_TSO6 : VIRTIO_NET_F_GUEST_TSO6))
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
	if (v == NULL || !locate(dev, s, v)) {
		free(v);
		return NULL;
	}
	v->size = s->size;
	v->header_len = has(dev, VIRTIO_NET_F_MRG_RXBUF) || has(dev, VIRTIO_F_VERSION_1)
				? sizeof(struct virtio_net_hdr_mrg_rxbuf)
				: sizeof(struct virtio_net_hdr);
	v->indirect = has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	v->event_idx = has(dev, VIRTIO_RING_F_EVENT_IDX);
	v->mergeable = has(dev, VIRTIO_NET_F_MRG_RXBUF);
	v->offloads = offloads(dev, i == VHOST_RING_FROM_GUEST(i / 2));
	v->memory = dev->memory;
	v->log = has(dev, VHOST_USER_F_LOG_ALL) ? dev->log : NULL;
	v->log_used = (s->addr.flags & VHOST_RING_LOG) != 0 ? s->addr.log : VHOST_NO_LOG;
	v->call = s->call;
	return v;
}

/* What workers poll follows from what runs and is enabled. */
static void update_masks(struct vhost_device *dev)
{
	uint64_t run = 0, enabled = 0;

	for (uint32_t i = 0; i < dev->nb_rings; i += 2) {
		if (running(dev, i) == NULL || running(dev, i + 1) == NULL)
			continue;
		run |= BIT(i / 2);
		if (dev->setups[i].enabled && dev->setups[i + 1].enabled && !dev->muted)
			enabled |= BIT(i / 2);
	}
	dev->running = run;
	__atomic_store_n(&dev->enabled, enabled, __ATOMIC_RELAXED);
	share_out(dev);
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

/* Make rings first to last run as they are set up now, and free how they ran before. */
static void update(struct vhost_device *dev, uint32_t first, uint32_t last)
{
	struct vhost_vring *old[VHOST_RINGS_MAX];
	bool any = false;

	for (uint32_t i = first; i <= last; i++) {
		old[i] = replace(dev, i);
		any |= old[i] != NULL;
	}
	update_masks(dev);
	if (any)
		wait_for_workers();
	for (uint32_t i = first; i <= last; i++)
		free(old[i]);
}

static void update_all(struct vhost_device *dev)
{
	update(dev, 0, dev->nb_rings - 1);
}

/* Whether ring i is told to run, and cannot: it is not in the guest's memory. */
static bool is_crooked(const struct vhost_device *dev, uint32_t i)
{
	struct vhost_vring where;

	return is_complete(dev, &dev->setups[i]) && !locate(dev, &dev->setups[i], &where);
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
	if (!has(dev, VHOST_USER_F_PROTOCOL_FEATURES))
		for (uint32_t i = 0; i < dev->nb_rings; i++)
			dev->setups[i].enabled = true;
	update_all(dev);
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
	update_all(dev);
	vhost_memory_unmap(old);
	for (uint32_t i = 0; i < dev->nb_rings; i++)
		if (is_crooked(dev, i))
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
	update_all(dev);
	vhost_log_unmap(old);
	/* QEMU waits for an answer, and for one without payload. */
	msg->header.size = 0;
	return (struct vhost_outcome){.reply = true};
}

static struct vhost_outcome set_vring_num(struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num == 0 || state.num > VHOST_RING_SIZE_MAX ||
		(state.num & (state.num - 1)) != 0 || running(dev, state.index) != NULL)
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
	if (dev->memory != NULL && s->size != 0 && !locate(dev, &wanted, &where))
		return bad(VB_FAULT_BAD_MESSAGE);
	*s = wanted;
	update(dev, addr->index, addr->index);
	return fine;
}

static struct vhost_outcome set_vring_base(struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num > UINT16_MAX || running(dev, state.index) != NULL)
		return bad(VB_FAULT_BAD_MESSAGE);
	dev->setups[state.index].base = state.num;
	return fine;
}

static struct vhost_outcome get_vring_base(struct vhost_device *dev, struct vhost_message *msg)
{
	uint32_t i = msg->payload.state.index;
	struct vhost_ring_setup *s = &dev->setups[i];
	bool ran = running(dev, i) != NULL;

	clear_setup(s);
	update(dev, i, i);
	/* No worker has it any more. */
	if (ran)
		s->base = dev->rings[i].next;
	ignore_kicks(dev, i / 2);
	replace_fd(&s->kick, -1);
	replace_fd(&s->call, -1);
	msg->payload.state.num = s->base;
	return (struct vhost_outcome){.reply = true};
}

static struct vhost_outcome set_vring_kick(struct vhost_device *dev, uint32_t i, int fd)
{
	ignore_kicks(dev, i / 2);
	replace_fd(&dev->setups[i].kick, fd);
	heed_kicks(dev, i / 2);
	dev->setups[i].kicked = true;
	update(dev, i, i);
	return is_crooked(dev, i) ? bad(VB_FAULT_BAD_MESSAGE) : fine;
}

static struct vhost_outcome set_vring_call(struct vhost_device *dev, uint32_t i, int fd)
{
	struct vhost_ring_setup *s = &dev->setups[i];
	int old = s->call;

	s->call = fd;
	update(dev, i, i);
	if (old >= 0)
		vhost_foreign_close(old);
	/* What has come in between went to the old one, or to nobody. */
	if (running(dev, i) != NULL)
		vhost_vring_call(running(dev, i));
	return fine;
}

static struct vhost_outcome set_vring_enable(
	struct vhost_device *dev, struct vhost_ring_state state)
{
	if (state.num > 1)
		return bad(VB_FAULT_BAD_MESSAGE);
	dev->setups[state.index].enabled = state.num;
	update_masks(dev);
	return fine;
}

static struct vhost_outcome reset_owner(struct vhost_device *dev)
{
	for (uint32_t i = 0; i < dev->nb_rings; i++) {
		clear_setup(&dev->setups[i]);
		dev->setups[i].enabled = false;
	}
	dev->negotiated = false;
	update_all(dev);
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
	update_all(dev);
}

void vhost_device_mute(struct vhost_device *dev, bool muted)
{
	dev->muted = muted;
	update_masks(dev);
}

void vhost_device_forget_memory(struct vhost_device *dev)
{
	struct vhost_memory *old = dev->memory;

	dev->memory = NULL;
	update_all(dev);
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

/* ---- for a standby ---- */

struct replay {
	void (*emit)(void *arg, const struct vhost_message *msg, const int *fds, uint32_t nb_fds);
	void *arg;
};

static struct vhost_message message(enum vhost_request request, uint32_t size)
{
	return (struct vhost_message){
		.header = {.request = request, .flags = VHOST_VERSION, .size = size}};
}

static void say_u64(const struct replay *r, enum vhost_request request, uint64_t value, int fd)
{
	struct vhost_message msg = message(request, sizeof(uint64_t));

	msg.payload.u64 = value;
	r->emit(r->arg, &msg, &fd, fd >= 0);
}

static void say_state(const struct replay *r, enum vhost_request request, uint32_t i, uint32_t num)
{
	struct vhost_message msg = message(request, sizeof(struct vhost_ring_state));

	msg.payload.state = (struct vhost_ring_state){.index = i, .num = num};
	r->emit(r->arg, &msg, NULL, 0);
}

static void replay_memory(const struct vhost_device *dev, const struct replay *r)
{
	uint32_t n = dev->memory->nb_regions;
	struct vhost_message msg = message(VHOST_SET_MEM_TABLE,
		offsetof(struct vhost_mem_table, regions) + n * sizeof(struct vhost_region_offer));
	int fds[VHOST_REGIONS_MAX];

	msg.payload.table.nb_regions = n;
	for (uint32_t i = 0; i < n; i++) {
		msg.payload.table.regions[i] = dev->memory->regions[i].offer;
		fds[i] = dev->memory->regions[i].fd;
	}
	r->emit(r->arg, &msg, fds, n);
}

static void replay_log(const struct vhost_device *dev, const struct replay *r)
{
	struct vhost_message msg = message(VHOST_SET_LOG_BASE, sizeof(struct vhost_log_base));

	msg.payload.log = (struct vhost_log_base){dev->log->size, dev->log->offset};
	r->emit(r->arg, &msg, &dev->log->fd, 1);
}

static void replay_ring(const struct vhost_device *dev, uint32_t i, const struct replay *r)
{
	const struct vhost_ring_setup *s = &dev->setups[i];
	struct vhost_message msg = message(VHOST_SET_VRING_ADDR, sizeof(s->addr));

	if (s->size != 0)
		say_state(r, VHOST_SET_VRING_NUM, i, s->size);
	say_state(r, VHOST_SET_VRING_BASE, i, s->base);
	if (s->has_addr) {
		msg.payload.addr = s->addr;
		r->emit(r->arg, &msg, NULL, 0);
	}
	if (s->call >= 0)
		say_u64(r, VHOST_SET_VRING_CALL, i, s->call);
	if (s->kicked)
		say_u64(r, VHOST_SET_VRING_KICK, s->kick >= 0 ? i : i | VHOST_RING_NO_FD, s->kick);
	if (has(dev, VHOST_USER_F_PROTOCOL_FEATURES))
		say_state(r, VHOST_SET_VRING_ENABLE, i, s->enabled);
}

void vhost_device_replay(const struct vhost_device *dev,
	void (*emit)(void *arg, const struct vhost_message *msg, const int *fds, uint32_t nb_fds),
	void *arg)
{
	const struct replay r = {.emit = emit, .arg = arg};

	say_u64(&r, VHOST_SET_PROTOCOL_FEATURES, dev->protocol_features, -1);
	if (dev->negotiated)
		say_u64(&r, VHOST_SET_FEATURES, dev->features, -1);
	if (dev->memory != NULL)
		replay_memory(dev, &r);
	if (dev->log != NULL)
		replay_log(dev, &r);
	for (uint32_t i = 0; i < dev->nb_rings; i++)
		replay_ring(dev, i, &r);
}
