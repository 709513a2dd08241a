/* SPDX-License-Identifier: Apache-2.0 */
#include "guest_ring.h"

#include <stdlib.h>
#include <string.h>

/* The parts of the ring lie one behind the other from the region's start. */
static void place(struct vhost_vring *v, uint8_t *at, uint16_t size)
{
	v->desc = (struct vring_desc *)at;
	at += size * sizeof(*v->desc);
	v->avail = (struct vring_avail *)at;
	at += RTE_ALIGN_CEIL(sizeof(*v->avail) + (size + 1) * 2, 4);
	v->used = (struct vring_used *)at;
}

int guest_ring_init(struct guest_ring *g, uint16_t size)
{
	memset(g, 0, sizeof(*g));
	g->first = calloc(1, GUEST_SIZE);
	g->second = calloc(1, GUEST_MORE);
	if (g->first == NULL || g->second == NULL)
		return -1;
	g->memory = (struct vhost_memory){
		.nb_regions = 2,
		.regions =
			{
				{.offer = {.gpa = GUEST_BASE, .size = GUEST_SIZE}, .at = g->first},
				{.offer = {.gpa = GUEST_BASE + GUEST_SIZE, .size = GUEST_MORE},
					.at = g->second},
			},
	};
	g->v = (struct vhost_vring){
		.size = size,
		.header_len = 12,
		.indirect = true,
		.mergeable = true,
		.memory = &g->memory,
		.log_used = VHOST_NO_LOG,
		.call = -1,
	};
	place(&g->v, g->first, size);
	rte_spinlock_init(&g->ring.lock);
	return 0;
}

void guest_ring_fini(struct guest_ring *g)
{
	free(g->first);
	free(g->second);
}

void *guest_at(struct guest_ring *g, uint64_t gpa)
{
	uint32_t len = 1;

	return vhost_memory_at(&g->memory, gpa, &len);
}

void guest_desc(struct guest_ring *g, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags,
	uint16_t next)
{
	g->v.desc[i] = (struct vring_desc){.addr = gpa, .len = len, .flags = flags, .next = next};
}

void guest_offer(struct guest_ring *g, uint16_t head)
{
	g->v.avail->ring[g->v.avail->idx % g->v.size] = head;
	g->v.avail->idx++;
}
