/* SPDX-License-Identifier: Apache-2.0
 *
 * How much each worker has to poll, so that what comes goes to who has least.
 *
 * One unit is one queue: a guest's queue pair, a nic's receive queue, the ring of what
 * the host thread serves.  Their traffic is not counted: it changes faster than a queue
 * should change its worker.  A queue is one worker's at a time; who gives it to another
 * one waits in between until the first has passed a quiescent state.
 *
 * Any thread but a worker.
 */
#ifndef VB_BALANCE_H
#define VB_BALANCE_H

#include <stdbool.h>
#include <stdint.h>

/* The worker that has least, and has one more from now on. */
uint32_t vb_balance_take(void);

/* A worker has one more, or (vb_balance_give()) one less. */
void vb_balance_add(uint32_t worker);
void vb_balance_give(uint32_t worker);

/* Whether it would be more even if that worker gave one away. */
bool vb_balance_heavy(uint32_t worker);

/* Whether that is so of any. */
bool vb_balance_uneven(void);

#endif
