/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of a pcapng file with one Ethernet interface, in the byte order of this host; see
 * draft-ietf-opsawg-pcapng.  (DPDK's rte_pcapng knows Ethernet devices only.)
 *
 * Functions write a block to "to" and return its bytes; a multiple of four, as blocks are.
 */
#ifndef VB_PCAPNG_H
#define VB_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

/* Enough for a block of the others, and for all of a packet's but its data. */
#define VB_PCAPNG_BLOCK 512u

enum vb_pcapng_direction {
	VB_PCAPNG_INBOUND = 1, /* of epb_flags, which see */
	VB_PCAPNG_OUTBOUND = 2,
};

struct vb_pcapng_packet {
	uint64_t time;	 /* ns of CLOCK_REALTIME */
	uint32_t length; /* on the wire */
	uint32_t kept;	 /* bytes of data */
	uint32_t direction;
	const uint8_t *data;
};

struct vb_pcapng_totals {
	uint64_t started, ended; /* ns of CLOCK_REALTIME */
	uint64_t seen;		 /* packets that passed */
	uint64_t wanted;	 /* those that the filter let pass */
	uint64_t lost;		 /* of those, not captured for want of room */
	uint64_t delivered;	 /* in the file */
};

/* The section's head, and its interface.  snaplen 0: no limit. */
size_t vb_pcapng_begin(uint8_t *to, const char *interface, uint32_t snaplen);

/* Needs VB_PCAPNG_BLOCK bytes beside the data. */
size_t vb_pcapng_packet(uint8_t *to, const struct vb_pcapng_packet *packet);

size_t vb_pcapng_end(uint8_t *to, const struct vb_pcapng_totals *totals);

#endif
