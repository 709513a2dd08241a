/* SPDX-License-Identifier: Apache-2.0
 *
 * The device's side of a split virtqueue (virtio 1.1 section 2.6), as far as a network
 * card needs it.
 *
 * The guest may write to a ring at any moment and is not to be believed: what is read
 * from it is read once, into a copy, and checked there.  Every number is bounded by the
 * ring or by an indirect table, every buffer lies in a region of the guest's memory,
 * every walk ends.  What is refused is dropped under a reason of its own (core/drop.h),
 * and its chain goes back to the guest, so that a ring never loses a buffer.
 *
 * Chains are used in the order in which they were made available and at once: those of
 * a burst from the guest when its frames have been passed on, so that a process that dies
 * meanwhile has them passed on twice rather than never.  So one number says how far a ring is, for
 * both of its halves, and the used index in guest memory always tells it: that is what a process
 * goes by that takes over from one that died.
 *
 * How a ring is set up (struct vhost_vring) is immutable and replaced as a whole by the
 * control side, which waits for the workers before it frees the old one.
 */
#ifndef VHOST_RING_H
#define VHOST_RING_H

#include <linux/virtio_ring.h>
#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "core/brick.h"
#include "vhost/log.h"
#include "vhost/memory.h"

#define VHOST_RING_SIZE_MAX 32768	      /* virtio 1.1 section 2.6 */
#define VHOST_CHAIN_MAX 256		      /* descriptors; Linux makes 19 at most */
#define VHOST_FRAME_MAX (65535 + 40 + 14 + 8) /* IPv6, in Ethernet and two tags */
#define VHOST_NO_LOG UINT64_MAX
#define VHOST_OFFENCE 64 /* refusals in a tenth of a second that are no mistake any more */

struct vhost_vring {
	uint16_t size; /* a power of two */
	uint8_t header_len;
	bool indirect; /* each as the guest's driver accepted it */
	bool event_idx;
	bool mergeable;
	uint8_t offloads; /* VB_OFFLOAD_* of the frames in it */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	const struct vhost_memory *memory;
	const struct vhost_log *log; /* NULL: the guest is not being migrated */
	uint64_t log_used;	     /* gpa of the used ring, or VHOST_NO_LOG */
	int call;		     /* eventfd that interrupts the guest, or -1 */
};

struct vhost_ring {
	struct vhost_vring *vring; /* atomic; NULL: workers stay away */
	uint16_t next;		   /* the next chain of both halves */
	uint16_t received;	   /* chains that are taken and not released */
	uint16_t signalled;	   /* used index when we last thought of an interrupt */
	bool signalled_valid;
	bool out_of_step;    /* the available index cannot be true */
	bool deaf;	     /* its eventfd blocks */
	bool kicks;	     /* atomic: what it is kicked by wakes the worker that polls it */
	uint64_t refused;    /* atomic: chains and indexes that were no good */
	rte_spinlock_t lock; /* towards the guest: workers share the ring */
} __rte_cache_aligned;

/* Begin at chain number next; no worker uses the ring. */
void vhost_ring_reset(struct vhost_ring *ring, uint16_t next);

/* The used index in guest memory: where a process that died had come to. */
static inline uint16_t vhost_vring_used_index(const struct vhost_vring *v)
{
	return __atomic_load_n(&v->used->idx, __ATOMIC_ACQUIRE);
}

/* Interrupt the guest whatever it asked for: somebody may have died before it did. */
void vhost_vring_call(const struct vhost_vring *v);

/* Ask the driver not to kick: we poll.  The worker that polls the ring, or control before
 * one does.
 */
void vhost_ring_hush(const struct vhost_ring *ring, const struct vhost_vring *v);

/* The same worker: ask it to kick when it makes the next chain available.  False: there is
 * one already.
 */
bool vhost_ring_listen(const struct vhost_ring *ring, const struct vhost_vring *v);

/* Worker: take up to n (at most VB_BURST) frames from a guest's transmit ring, count
 * what is refused, and return how many came.  One worker at a time.  Of long frames all
 * but the head is lent (core/loan.h), until vhost_ring_release().
 */
uint16_t vhost_ring_receive(struct vhost_ring *ring, const struct vhost_vring *v,
	struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n);

/* Worker: let the guest have back what vhost_ring_receive() took, whatever it returned;
 * nobody has a loan of it any more.
 */
void vhost_ring_release(struct vhost_ring *ring, const struct vhost_vring *v);

/* Worker: copy frames into a guest's receive ring; all are consumed.  What the ring has
 * no room for is dropped.  The guest has agreed to what they still want done (v->offloads).
 */
void vhost_ring_send(struct vhost_ring *ring, const struct vhost_vring *v, struct vb_counters *row,
	struct rte_mbuf **pkts, uint16_t n);

#endif
