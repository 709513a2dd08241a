/* SPDX-License-Identifier: Apache-2.0
 *
 * What a packet costs: TSC cycles from the poll that fetched it until it is delivered and
 * freed, over all packets of a poll.
 *
 * The figure to compare is the median over polls that carried a full burst: a poll that
 * an interrupt or another process cut into weighs no more than one.  So polls are counted
 * in a histogram of cycles a packet, and the median is looked up on reading.
 *
 * One thread writes, any may read.  Of this project it needs count.h only: bench/native
 * measures a bare cross-connect in the same way.
 */
#ifndef VB_COST_H
#define VB_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/count.h"

#define VB_COST_BURST 32	/* packets: a full burst */
#define VB_COST_CYCLES_MAX 4096 /* buckets of one cycle; the last one takes all beyond */

struct vb_cost {
	uint64_t polls; /* that found a packet */
	uint64_t packets;
	uint64_t cycles;		   /* for them */
	uint64_t full_polls;		   /* with a full burst, */
	uint64_t full_packets;		   /* of several queues perhaps more */
	uint64_t empty_polls;		   /* that found none */
	uint64_t empty_cycles;		   /* in those */
	uint64_t full[VB_COST_CYCLES_MAX]; /* full polls by cycles a packet */
};

/* Begin anew.  The writer only. */
static inline void vb_cost_reset(struct vb_cost *c)
{
	uint64_t *words = (uint64_t *)c;

	for (uint32_t i = 0; i < sizeof(*c) / sizeof(*words); i++)
		__atomic_store_n(&words[i], 0, __ATOMIC_RELAXED);
}

/* A poll took so many cycles for n packets.  The writer only. */
static inline void vb_cost_add(struct vb_cost *c, uint64_t cycles, uint32_t n)
{
	uint64_t each;

	if (n == 0) {
		vb_count(&c->empty_polls, 1);
		vb_count(&c->empty_cycles, cycles);
		return;
	}
	vb_count(&c->polls, 1);
	vb_count(&c->packets, n);
	vb_count(&c->cycles, cycles);
	if (n < VB_COST_BURST)
		return;
	each = cycles / n;
	vb_count(&c->full_polls, 1);
	vb_count(&c->full_packets, n);
	vb_count(&c->full[each < VB_COST_CYCLES_MAX ? each : VB_COST_CYCLES_MAX - 1], 1);
}

/* The median over full polls in cycles a packet; 0: there was none. */
static inline uint32_t vb_cost_median(const struct vb_cost *c)
{
	uint64_t total = 0, seen = 0;

	for (uint32_t i = 0; i < VB_COST_CYCLES_MAX; i++)
		total += vb_count_read(&c->full[i]);
	for (uint32_t i = 0; i < VB_COST_CYCLES_MAX; i++) {
		seen += vb_count_read(&c->full[i]);
		if (2 * seen > total)
			return i;
	}
	return 0;
}

#endif
