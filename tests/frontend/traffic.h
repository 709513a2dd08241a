/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_TRAFFIC_H
#define VUSER_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mempool.h>

#include "frame.h"

/* Makes and sends frames.  Used by the polling thread only. */

#define ALL_QUEUES UINT16_MAX

struct stream_args {
	struct rte_ether_addr dst;
	struct rte_ether_addr src;
	uint16_t size;	/* bytes without the CRC */
	uint16_t flows; /* UDP source ports taken in turn */
	uint16_t macs;	/* source MACs taken in turn, counting up from src */
	uint16_t queue; /* or ALL_QUEUES */
	uint64_t count; /* frames; 0: until stopped */
	uint64_t rate;	/* frames a second; 0: as many as the rings take */
};

struct tx_queue {
	struct rte_mbuf *pending[BURST]; /* made, but the ring was full */
	uint16_t first;
	uint16_t n;
	uint16_t flow; /* whose turn it is */
};

struct stream {
	struct stream_args args;
	bool active;
	uint32_t source;
	uint16_t next_queue;
	uint64_t made;
	uint64_t paced_since; /* when the rate's count began */
	uint64_t paced;	      /* frames made since */
	uint64_t tx;	      /* frames the rings took, over all streams */
	uint64_t tx_full;     /* times a ring took less than it was given */
	struct tx_queue queue[MAX_QUEUES];
	uint32_t seq[MAX_CHANNELS];
	uint8_t frame[FRAME_MAX];
};

/* Returns 0, or -EINVAL for arguments out of range. */
int stream_start(struct stream *s, const struct stream_args *args, uint64_t now);
void stream_stop(struct stream *s);

/* Whether a stream with a count has handed over its last frame. */
bool stream_done(const struct stream *s);

/* Sends up to a burst on each queue; returns how many the rings took. */
unsigned int stream_poll(
	struct stream *s, uint16_t port, uint16_t queues, struct rte_mempool *pool, uint64_t now);

/* Frees what the rings have not taken. */
void stream_drop_pending(struct stream *s);

#endif
