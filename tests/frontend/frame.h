/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_FRAME_H
#define VUSER_FRAME_H

#include <stdint.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

/*
 * The frames of the test: IPv4/UDP, so that any switch takes them, with a tag
 * that lets the receiver tell what was lost, doubled, reordered or damaged.
 */

#define FRAME_MAGIC 0x76627231u /* "vbr1" */
#define FRAME_MIN 60		/* 64 on a wire, where the CRC is added */
#define FRAME_MAX 1996		/* fits a default mbuf */
#define FRAME_PORT 9		/* discard */
#define FRAME_PORT_BASE 40000	/* source port of flow 0 */

#define MAX_QUEUES 8
#define MAX_FLOWS 256
#define MAX_CHANNELS (MAX_QUEUES * MAX_FLOWS)
#define BURST 32

/* In host byte order: sender and receiver are always on the same machine. */
struct tag {
	uint32_t magic;
	uint32_t source;  /* one run of one stream */
	uint32_t seq;	  /* counted for each channel */
	uint32_t stamp;	  /* when it was made, see frame_stamp() */
	uint16_t channel; /* a flow on a queue: what must stay in order */
} __rte_packed;

struct frame {
	struct rte_ether_hdr eth;
	struct rte_ipv4_hdr ip;
	struct rte_udp_hdr udp;
	struct tag tag;
	uint8_t fill[]; /* frame_fill() of its offset */
} __rte_packed __rte_aligned(2);

_Static_assert(sizeof(struct frame) == FRAME_MIN, "the tag fills the smallest frame");

/* 16 cycles a tick: fine enough to time a packet, and half a minute to wrap. */
static inline uint32_t frame_stamp(uint64_t tsc)
{
	return tsc >> 4;
}

static inline uint8_t frame_fill(unsigned int offset)
{
	return offset * 7;
}

#endif
