/* SPDX-License-Identifier: Apache-2.0
 *
 * Waking a thread out of a sleep in a library that offers no other way.
 */
#ifndef VB_NUDGE_H
#define VB_NUDGE_H

#include <signal.h>
#include <sys/types.h>

#define VB_NUDGE SIGURG

/* Prepare: from now on the signal does nothing but interrupt.  Any thread; more
 * than once does no harm.
 */
void vb_nudge_init(void);

/* Interrupt the system call that a thread of this process sleeps in. */
void vb_nudge(pid_t tid);

#endif
