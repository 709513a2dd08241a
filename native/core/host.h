/* SPDX-License-Identifier: Apache-2.0
 *
 * The host thread: it makes the system calls that the forwarding path does not
 * make, for every brick whose other side is a file descriptor (tap, vxlan).
 *
 * Between it and the workers each such brick has a struct vb_host_port with two
 * rings: "rx" from the kernel, "tx" to the kernel.  A worker wakes the thread
 * through an eventfd only when it says that it is about to sleep.  The file
 * descriptors it waits for are struct vb_host_fd; a tap has one of its own, many
 * vxlan bricks share one.
 *
 * The kernel gets finished frames (finish.h).  It is this thread that finishes them: a
 * packet of 64 KiB takes one place in the ring, and no time of a worker's.
 *
 * One lock guards all of it, the state of those bricks included: the thread has
 * it while it works, the control side (vb_host_lock()) while it changes something.
 * Workers never take it.
 */
#ifndef VB_HOST_H
#define VB_HOST_H

#include <rte_ring.h>
#include <stdbool.h>

#include "core/brick.h"
#include "core/finish.h"
#include "core/sleep.h"

struct vb_host_fd {
	int fd;

	/* Host thread: epoll said this of fd.  Take a burst; what is left is told again. */
	void (*ready)(struct vb_host_fd *self, uint32_t events);
};

/* The first member of the state of a brick that the host thread serves. */
struct vb_host_port {
	struct rte_ring *rx;	 /* host thread -> workers */
	struct rte_ring *tx;	 /* workers -> host thread */
	struct vb_finish finish; /* the host thread's: of the packet that is being sent */
	uint32_t worker;	 /* who pulls */
	struct vb_brick *brick;
	struct vb_counters *row; /* the host thread's */

	/* Host thread: send a burst of vb_host_take()'s packets; true if there was
	 * any.  It must not wait for its kernel object: there are other ports.
	 */
	bool (*send)(struct vb_host_port *port);
	struct vb_host_port *next;
};

/* ---- control ---- */

/* Make the rings of brick, whose state begins with port.  -ENOMEM. */
int vb_host_port_init(struct vb_host_port *port, struct vb_brick *brick,
	bool (*send)(struct vb_host_port *port));

/* Free them and what is in them; also after a failed init, or none. */
void vb_host_port_fini(struct vb_host_port *port);

/* Serve the brick from now on and join it to another one; -errno, to be followed by
 * vb_host_port_stop().  No lock held.
 */
int vb_host_port_start(struct vb_host_port *port, struct vb_brick *to);

void vb_host_lock(void);
void vb_host_unlock(void);

/* Lock held.  The thread starts with the first watch and lives as long as the
 * process; -errno.  Unwatch and stop do no harm to who was never watched or
 * started; when they have returned the thread does not know the fd or the port.
 */
int vb_host_watch(struct vb_host_fd *fd);
void vb_host_unwatch(struct vb_host_fd *fd);
void vb_host_port_stop(struct vb_host_port *port);

/* The end of a process that another one goes on for: take the lock for good, so that
 * nothing more comes from the kernel, and wait until the workers have what came; with
 * none of them working any more, give the kernel what they left.
 */
void vb_host_finish(void);
void vb_host_flush(void);

/* ---- workers: these are the brick's ---- */

uint16_t vb_host_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);
bool vb_host_can_wake(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);
bool vb_host_arm(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge);
void vb_host_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n);

/* ---- the host thread ---- */

/* The next frame of what workers have pushed, or NULL; the caller owns it. */
struct rte_mbuf *vb_host_take(struct vb_host_port *port);

/* A packet came from the kernel, and its contents were lost. */
static inline void vb_host_lost(struct vb_host_port *port, enum vb_drop why)
{
	vb_count(&port->row->from_peer_packets, 1);
	vb_count(&port->row->drops[why], 1);
}

/* Hand a packet from the kernel to the workers; it is consumed. */
static inline void vb_host_give(struct vb_host_port *port, struct rte_mbuf *m)
{
	vb_count(&port->row->from_peer_packets, 1);
	vb_count(&port->row->from_peer_bytes, m->pkt_len);
	if (rte_ring_sp_enqueue(port->rx, m) != 0)
		vb_drop(port->row, VB_DROP_RING_FULL, &m, 1);
	vb_sleep_wake(port->worker);
}

#endif
