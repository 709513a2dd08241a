/* SPDX-License-Identifier: Apache-2.0
 *
 * The watchdog: a thread that ends the process when another one hangs.
 *
 * Guests recover from a dead backend, since it is started again or a standby takes over;
 * a hung one freezes them for ever.
 *
 * Each thread that guests depend on has a pulse.  It is either idle, waiting for something
 * to do for as long as it takes, or at a piece of work, which must not take long.  Of a poll
 * worker each round is a piece, and it is idle only while it sleeps (sleep.h).  A pulse is a
 * counter that its owner alone writes: odd while it is at work, another number for each piece.
 *
 * Time is counted in the watchdog's own ticks, never taken from a clock: while the whole
 * process is stopped (SIGSTOP, a debugger, a suspended machine) there are no ticks.  Nor
 * does time count for which a thread wanted to run and got no processor: where others
 * starve it, it would starve again after a restart.
 *
 * The end is abort(): who asked for core dumps gets one of the moment that matters, with
 * the stuck thread's stack in it, and to everybody else RLIMIT_CORE says no.
 */
#ifndef VB_WATCHDOG_H
#define VB_WATCHDOG_H

#include <stdint.h>
#include <sys/types.h>

#include "core/count.h"

struct vb_pulse {
	uint64_t beats;	  /* atomic */
	const char *name; /* to people, such as "worker 0" */
	pid_t tid;
	/* The watchdog's: */
	uint64_t seen;	   /* beats, when it looked last */
	uint64_t cpu_ns;   /* the thread's processor time then; 0: not known */
	uint64_t stuck_ns; /* how long it could have gone on, and has not */
	char state;	   /* as in /proc/self/task/TID/stat */
	struct vb_pulse *next;
};

/* The calling thread has a pulse from now on, and is idle.  Memory and name must stay as
 * long as the process.
 */
void vb_pulse_start(struct vb_pulse *pulse, const char *name);

/* It is at a piece of work from now on, or at the next one. */
static inline void vb_pulse_work(struct vb_pulse *pulse)
{
	vb_count(&pulse->beats, 1 + (pulse->beats & 1));
}

/* It waits from now on. */
static inline void vb_pulse_idle(struct vb_pulse *pulse)
{
	vb_count(&pulse->beats, pulse->beats & 1);
}

/* End the process when a piece of work takes longer; -errno. */
int vb_watchdog_start(uint32_t limit_ms);

/* How often it has looked. */
uint64_t vb_watchdog_ticks(void);

#endif
