/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime made and bricks use.
 */
#ifndef VB_RUNTIME_H
#define VB_RUNTIME_H

#include <pthread.h>
#include <rte_mempool.h>

/* The packet buffers; any thread. */
extern struct rte_mempool *vb_pool;

/* Start a thread on the control cores, named so in ps and gdb; -errno. */
int vb_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg);

#endif
