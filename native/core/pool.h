/* SPDX-License-Identifier: Apache-2.0
 *
 * The packet buffers.
 *
 * To touch tens of MiB for the first time takes as long as all else of a start, and a
 * guest waits for it after a crash.  So there are two pools: a small one to begin with,
 * and one of the size that was asked for, whose memory is reserved at once and made
 * ready by a thread of its own.
 */
#ifndef VB_POOL_H
#define VB_POOL_H

#include <rte_mempool.h>

/* Where new buffers come from; atomic: it changes once. */
extern struct rte_mempool *vb_pool;

static inline struct rte_mempool *vb_buffers(void)
{
	return __atomic_load_n(&vb_pool, __ATOMIC_ACQUIRE);
}

/* Make them.  -ENOMEM. */
int vb_pool_start(uint32_t nb_mbufs);

/* All buffers, for who keeps many of them: waits until they are there.  Control side. */
struct rte_mempool *vb_pool_whole(void);

#endif
