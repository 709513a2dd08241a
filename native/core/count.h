/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters with one writer and readers on other threads.  Relaxed atomics: on
 * x86 and arm64 they cost what a plain variable costs, without the data race.
 */
#ifndef VB_COUNT_H
#define VB_COUNT_H

#include <stdint.h>

/* Only the thread that owns the counter. */
static inline void vb_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t vb_count_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
