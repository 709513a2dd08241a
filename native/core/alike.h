/* SPDX-License-Identifier: Apache-2.0
 *
 * Sorting a burst by where its packets go, without changing the order of those that go the
 * same way.
 */
#ifndef VB_ALIKE_H
#define VB_ALIKE_H

#include "core/brick.h"

/* All n packets of a burst, by bit. */
static inline uint32_t vb_alike_all(uint16_t n)
{
	return UINT32_MAX >> (VB_BURST - n);
}

/* Of the packets that are left, by bit and one at least, take the first and all that go
 * where it goes; they go to out, and their way to *way.  Returns how many they are.
 */
static inline uint16_t vb_alike_take(uint32_t *left, const uint16_t *to, struct rte_mbuf **pkts,
	struct rte_mbuf **out, uint16_t *way)
{
	uint16_t n = 0;

	*way = to[__builtin_ctz(*left)];
	for (uint32_t rest = *left; rest != 0; rest &= rest - 1) {
		uint16_t i = __builtin_ctz(rest);

		if (to[i] != *way)
			continue;
		out[n++] = pkts[i];
		*left &= ~(1u << i);
	}
	return n;
}

#endif
