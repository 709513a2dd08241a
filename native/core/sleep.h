/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers that sleep, and who wakes them.
 *
 * A worker sleeps only where all that it polls can wake it.  It says that it is about to
 * (vb_sleep_begin()), has everybody tell it of what comes from now on, looks at
 * everything once more, and then waits (vb_sleep_wait()).  There are two ways to wake it:
 *
 * - file descriptors of others, such as the eventfds by which guests kick, in the
 *   worker's epoll set.  They are edge-triggered, so nobody ever reads one: what a
 *   frontend does to its eventfd makes nobody wait.
 * - vb_sleep_wake(), by threads of ours, after they have stored what is news.  While the
 *   worker does not sleep that costs them a barrier and a load.
 *
 * It may wake for nothing, and does so from time to time: then it sees what nobody tells,
 * such as memory that has become smaller.
 */
#ifndef VB_SLEEP_H
#define VB_SLEEP_H

#include <rte_atomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhost_brick.h"

/* Atomic: a worker that is about to sleep, or does.  sleep.c's. */
extern bool vb_sleepers[VB_WORKERS_MAX];

/* Before there are workers; -errno. */
int vb_sleep_init(uint32_t nb_workers);

/* ---- control ---- */

/* Have fd, which is not ours to read, wake a worker; -errno. */
int vb_sleep_watch(uint32_t worker, int fd);

/* No more, before fd is closed: epoll does not forget a file that others have open. */
void vb_sleep_unwatch(uint32_t worker, int fd);

/* ---- any thread ---- */

void vb_sleep_interrupt(uint32_t worker);

/* What was stored before is seen by the worker before it sleeps, or wakes it. */
static inline void vb_sleep_wake(uint32_t worker)
{
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&vb_sleepers[worker], __ATOMIC_RELAXED))
		vb_sleep_interrupt(worker);
}

/* The same, for all workers. */
void vb_sleep_wake_all(void);

/* ---- the worker ---- */

/* About to sleep: what it looks at from now on is not older than who did not see that. */
void vb_sleep_begin(uint32_t worker);

/* Until somebody wakes it, or for long enough. */
void vb_sleep_wait(uint32_t worker);

/* It does not sleep, after all or any more. */
void vb_sleep_end(uint32_t worker);

#endif
