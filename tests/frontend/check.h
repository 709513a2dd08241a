/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_CHECK_H
#define VUSER_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "frame.h"

/* Judges received frames.  Used by the polling thread only. */

#define MAX_SOURCES 64
#define LATENCY_BUCKETS 512

struct channel {
	uint32_t next; /* the number expected */
	uint64_t seen; /* bit n: next - 1 - n has come */
};

struct source_counters {
	uint32_t id;
	struct rte_ether_addr mac;
	uint64_t rx;
	uint64_t lost; /* gaps that nothing has filled since */
	uint64_t reordered;
	uint64_t duplicate; /* or too late to tell */
};

struct check_counters {
	uint64_t rx;
	uint64_t rx_bytes;
	uint64_t rx_bad;   /* ours, but damaged */
	uint64_t rx_other; /* not ours */
	uint64_t last_tsc; /* when the last of ours came; 0: none yet */
	uint64_t silence;  /* longest time between two of ours, in cycles */
	uint64_t latency[LATENCY_BUCKETS];
	unsigned int sources;
	struct source_counters source[MAX_SOURCES];
};

struct checker {
	struct check_counters counters;
	struct channel *channels[MAX_SOURCES]; /* beside counters.source[] */
	uint8_t fill[FRAME_MAX];
};

void check_init(struct checker *c);
void check_reset(struct checker *c);

/* Looks at @n frames received at @now; the caller still owns them. */
void check_burst(struct checker *c, struct rte_mbuf **mbufs, uint16_t n, uint64_t now);

/* The latency in microseconds that @share (0 to 1) of the frames kept. */
double check_latency_us(const struct check_counters *c, double share);

#endif
