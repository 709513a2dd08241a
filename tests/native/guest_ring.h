/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest's ring in memory of our own, for tests that write what no driver would.
 *
 * The memory is one malloc() of just its size, so that the address sanitizer sees a
 * step beyond it.  Two regions that follow each other in guest addresses, but not here,
 * show that a buffer may go across.
 */
#ifndef GUEST_RING_H
#define GUEST_RING_H

#include "vhost/ring.h"

#define GUEST_BASE 0x100000000ULL
#define GUEST_SIZE 0x40000u /* of the first region, where the ring is */
#define GUEST_MORE 0x10000u /* of the second one */
#define GUEST_DATA 0x8000u  /* where buffers begin */

struct guest_ring {
	uint8_t *first, *second;
	struct vhost_memory memory;
	struct vhost_vring v;
	struct vhost_ring ring;
	struct vb_counters row;
};

/* A ring of size places, all features on, nothing available.  -1: out of memory. */
int guest_ring_init(struct guest_ring *g, uint16_t size);
void guest_ring_fini(struct guest_ring *g);

/* Our address of a guest's; NULL: it has none. */
void *guest_at(struct guest_ring *g, uint64_t gpa);

/* Write descriptor i. */
void guest_desc(struct guest_ring *g, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags,
	uint16_t next);

/* Make the chain at head available. */
void guest_offer(struct guest_ring *g, uint16_t head);

#endif
