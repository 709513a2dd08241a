/* SPDX-License-Identifier: Apache-2.0
 *
 * Captured packets that wait to be written: a ring of bytes with one thread at either end,
 * neither of which ever waits.
 *
 * A packet is a record: a head, the bytes, and what it takes to have the next one
 * aligned.  It lies in one piece; where it would not before the ring's end, a filler takes
 * what is left there.
 */
#ifndef VB_BACKLOG_H
#define VB_BACKLOG_H

#include <rte_common.h>
#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

/* The least memory of one: three of the largest packets. */
#define VB_BACKLOG_MIN (256u << 10)

struct vb_record {
	uint32_t size; /* in the ring, this head included */
	uint32_t kind; /* its user's; VB_RECORD_FILLER: there is nothing in it */
	uint64_t tsc;
	uint32_t length; /* of the packet */
	uint32_t kept;	 /* bytes of it that follow */
	uint8_t data[];
};

#define VB_RECORD_FILLER 0

struct vb_backlog {
	uint8_t *memory;
	uint64_t size; /* a power of two */

	/* The worker's: counters, and where it writes next. */
	uint64_t head __rte_cache_aligned; /* atomic */
	uint64_t seen;			   /* packets, of the wanted directions */
	uint64_t wanted;		   /* of those, by the filter */
	uint64_t lost;			   /* of those, for want of room */

	/* The writer's. */
	uint64_t tail __rte_cache_aligned; /* atomic */
};

/* size: rounded down to a power of two, VB_BACKLOG_MIN at least.  -ENOMEM. */
int vb_backlog_init(struct vb_backlog *b, uint64_t size);

/* Also after a failed init, or none if it is all zero. */
void vb_backlog_fini(struct vb_backlog *b);

/* Worker: keep the first bytes of m; false: there is no room. */
bool vb_backlog_put(struct vb_backlog *b, const struct rte_mbuf *m, uint32_t kept, uint32_t kind);

/* Writer: the oldest record, or NULL; the ring's until vb_backlog_pop(). */
const struct vb_record *vb_backlog_first(struct vb_backlog *b);
void vb_backlog_pop(struct vb_backlog *b, const struct vb_record *record);

#endif
