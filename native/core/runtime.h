/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime made and bricks use.
 */
#ifndef VB_RUNTIME_H
#define VB_RUNTIME_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Of struct vb_options. */
extern const uint32_t *vb_peer_uids;
extern uint32_t vb_nb_peer_uids;
extern bool vb_standby;
extern uint32_t vb_nb_workers;

/* Start the workers of a process that stood by; -errno. */
int vb_runtime_take_over(void);

/* Start a thread on the control cores, named so in ps and gdb; -errno. */
int vb_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg);

#endif
