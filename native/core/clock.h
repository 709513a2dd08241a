/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's clocks in nanoseconds, for the control side: workers use the TSC.
 */
#ifndef VB_CLOCK_H
#define VB_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t vb_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* To tell people when. */
static inline uint64_t vb_wall_ns(void)
{
	return vb_clock_ns(CLOCK_REALTIME);
}

/* To tell how long. */
static inline uint64_t vb_monotonic_ns(void)
{
	return vb_clock_ns(CLOCK_MONOTONIC);
}

#endif
