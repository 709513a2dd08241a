/* SPDX-License-Identifier: Apache-2.0
 *
 * The vhost thread: one epoll loop for all sockets of all ports.
 *
 * It never blocks on a frontend: sockets are non-blocking, and it takes one event at a
 * time, so that a frontend that floods its socket gets every nth turn and no more.
 * One lock guards all that the loop serves.  The thread has it while it handles an
 * event, control threads while they change something; they take turns.  Order: this
 * lock before vb_lock.
 */
#ifndef VHOST_LOOP_H
#define VHOST_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct vhost_source {
	int fd;
	/* Lock held: epoll says that fd is readable, or has hung up. */
	void (*ready)(struct vhost_source *self);
};

struct vhost_timer {
	uint64_t due; /* monotonic ns; 0: not set */
	void (*expired)(struct vhost_timer *self);
	struct vhost_timer *next, **pprev;
};

/* Start the thread, once; -errno. */
int vhost_loop_start(void);

void vhost_loop_lock(void);
void vhost_loop_unlock(void);

/* Lock held.  -errno. */
int vhost_loop_watch(struct vhost_source *source);
void vhost_loop_unwatch(struct vhost_source *source);

/* Lock held.  Set a timer, from zeroed memory on, and again; clear one, set or not. */
void vhost_timer_set(struct vhost_timer *timer, uint64_t due);
void vhost_timer_clear(struct vhost_timer *timer);

#endif
