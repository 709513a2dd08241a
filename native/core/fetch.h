/* SPDX-License-Identifier: Apache-2.0
 *
 * Having memory on its way before it is needed.  What two cores write in turn, such as a
 * guest's buffers, costs hundreds of cycles a cache line to fetch, but many lines can be
 * fetched at a time.
 */
#ifndef VB_FETCH_H
#define VB_FETCH_H

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_prefetch.h>

/* The cache lines that at[from] to at[to - 1] begin; no address is a wrong one. */
static inline void vb_fetch(const uint8_t *at, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i += RTE_CACHE_LINE_SIZE)
		rte_prefetch0(at + i);
}

/* One line, as its only owner.  The compiler's own falls back to reading for the oldest
 * processors that DPDK is built for; the instruction does nothing on those.
 */
static inline void vb_fetch_line_to_write(const uint8_t *at)
{
#ifdef RTE_ARCH_X86
	asm volatile("prefetchw %0" : : "m"(*at));
#else
	__builtin_prefetch(at, 1);
#endif
}

static inline void vb_fetch_to_write(const uint8_t *at, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i += RTE_CACHE_LINE_SIZE)
		vb_fetch_line_to_write(at + i);
}

#endif
