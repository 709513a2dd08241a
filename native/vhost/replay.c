/* SPDX-License-Identifier: Apache-2.0
 *
 * A device told as the messages that lead to where it is, for a standby.
 */
#include <stddef.h>

#include "vhost/device_parts.h"

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
	if (vhost_device_has(dev, VHOST_USER_F_PROTOCOL_FEATURES))
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
