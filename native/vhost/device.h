/* SPDX-License-Identifier: Apache-2.0
 *
 * The device that a frontend sees: what its messages have set up, and the rings that
 * follow from that.
 *
 * Messages change what is wanted (struct ring_setup, memory, log, features); after each
 * one the rings that workers run are brought in line.  A ring runs from when it has
 * memory, size, addresses, a base and a kick until GET_VRING_BASE.  No kick is waited
 * for: after a restart a polling driver never gives one.  Changes of a running ring
 * (an interrupt that moves, memory that is plugged in, a migration that starts) cost
 * the guest no packet: the new setup replaces the old one while workers run, and the
 * old one is freed when they have passed.
 *
 * A device that "follows" has the same state but no running rings and no voice: it is
 * a standby's copy, which vhost_device_wake() makes a real one.
 *
 * All calls under the loop's lock (loop.h); none with vb_lock held.
 */
#ifndef VHOST_DEVICE_H
#define VHOST_DEVICE_H

#include "core/fault.h"
#include "vhost/message.h"
#include "vhost/ring.h"

#define VHOST_RINGS_MAX (2 * VB_QUEUES_MAX)

/* A guest's rings, from its point of view (virtio 1.1 section 5.1.2). */
#define VHOST_RING_TO_GUEST(pair) ((pair)*2)
#define VHOST_RING_FROM_GUEST(pair) ((pair)*2 + 1)

/* What the frontend has said of a ring. */
struct vhost_ring_setup {
	uint32_t size; /* 0: not yet */
	struct vhost_ring_addr addr;
	bool has_addr;
	bool kicked; /* has an eventfd to kick us by, or polls */
	bool enabled;
	uint16_t base;
	int kick; /* owned, or -1 */
	int call; /* owned, or -1 */
};

#define VHOST_NO_WORKER UINT8_MAX

/* What a worker has of a device. */
struct vhost_hand {
	uint64_t own;	/* atomic: the queue pairs that no other worker touches */
	uint64_t armed; /* the worker's: those whose drivers it has asked to kick */
};

struct vhost_device {
	uint64_t offered;
	uint32_t nb_rings;
	bool follows;
	bool negotiated;   /* the frontend has accepted features: */
	uint64_t features; /* atomic: which; 0 before */
	uint64_t protocol_features;
	struct vhost_memory *memory;
	struct vhost_log *log;
	struct vhost_ring_setup setups[VHOST_RINGS_MAX];
	uint64_t running;	  /* a bit a queue pair whose two rings run */
	uint64_t enabled;	  /* atomic: of those, which are enabled; what workers poll */
	bool muted;		  /* workers are kept away for a while, whatever is enabled */
	struct vhost_ring *rings; /* nb_rings of them */
	struct vhost_hand hands[VB_WORKERS_MAX];
	bool served; /* workers poll what is enabled */
	/* The worker that a queue pair is of since it was first enabled, or VHOST_NO_WORKER;
	 * and a bit a queue pair that it counts as its load.
	 */
	uint8_t worker[VB_QUEUES_MAX];
	uint64_t counted;
};

/* What became of a message. */
struct vhost_outcome {
	enum vb_fault fault; /* VB_FAULT_NONE, or what is wrong with it */
	bool refused;	     /* a frontend that asked for an acknowledgement is told so, and
			      * may stay; without that, and otherwise, a fault ends it */
	bool reply;	     /* the message has become its own answer */
	bool rarp;	     /* the guest's address (in payload.u64) is to be announced */
};

/* -ENOMEM. */
int vhost_device_init(struct vhost_device *dev, uint64_t offered, uint32_t queues);

/* Stop and free everything; no worker has the device any more. */
void vhost_device_fini(struct vhost_device *dev);

/* Take a message that has passed vhost_message_check(); its fds are taken over. */
struct vhost_outcome vhost_device_handle(
	struct vhost_device *dev, struct vhost_message *msg, const int *fds, uint32_t nb_fds);

/* A standby's copy becomes the device itself: where the rings are is read from them. */
void vhost_device_wake(struct vhost_device *dev);

/* Workers are going to poll the rings: let kicks wake them; or they do not any more. */
void vhost_device_serve(struct vhost_device *dev, bool serve);

/* Where one of the device's workers has too much, give a queue pair to another one. */
void vhost_device_rebalance(struct vhost_device *dev);

/* Worker: the queue pairs that it polls. */
static inline uint64_t vhost_device_polled(const struct vhost_device *dev, uint32_t worker)
{
	return __atomic_load_n(&dev->enabled, __ATOMIC_RELAXED) &
	       __atomic_load_n(&dev->hands[worker].own, __ATOMIC_ACQUIRE);
}

/* Keep workers away from the rings, or let them back. */
void vhost_device_mute(struct vhost_device *dev, bool muted);

/* Memory that the datapath has no use for: rings do not run without. */
void vhost_device_forget_memory(struct vhost_device *dev);

/* Whether memory that the frontend shares has become smaller under us. */
bool vhost_device_lost_memory(const struct vhost_device *dev);

/* Chains and indexes that had to be refused so far. */
uint64_t vhost_device_refused(const struct vhost_device *dev);

/* Give the messages, in an order that makes sense, that lead to where the device is; the
 * fds stay the device's.
 */
void vhost_device_replay(const struct vhost_device *dev,
	void (*emit)(void *arg, const struct vhost_message *msg, const int *fds, uint32_t nb_fds),
	void *arg);

#endif
