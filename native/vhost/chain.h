/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains of descriptors, checked, as the pieces of our memory that they name.
 *
 * A worker walks all the chains of a burst before it touches what they name, so that
 * the memory of one is on its way while the next is walked.  What it finds is kept in
 * one list of pieces; a chain, or several that one frame goes into, is a part of it.
 */
#ifndef VHOST_CHAIN_H
#define VHOST_CHAIN_H

#include <rte_memcpy.h>
#include <string.h>

#include "core/drop.h"
#include "vhost/ring.h"

struct vhost_piece {
	uint8_t *at;
	uint64_t gpa;
	uint32_t len; /* never 0 */
};

/* Whoever walks one chain more leaves room for the longest. */
#define VHOST_PIECES_MAX (2 * VHOST_CHAIN_MAX)

struct vhost_pieces {
	uint32_t nb;
	struct vhost_piece at[VHOST_PIECES_MAX];
};

/* The last pieces of a list. */
struct vhost_chain {
	uint32_t first;
	uint32_t nb_pieces;
	uint32_t nb_empty; /* descriptors of no bytes: they cost time, and nothing else */
	uint32_t bytes;
};

#define VHOST_CHAIN_OK VB_DROPS
#define VHOST_SHORT 256 /* bytes: see vhost_copy() */

static inline bool vhost_pieces_full(const struct vhost_pieces *p)
{
	return p->nb > VHOST_PIECES_MAX - VHOST_CHAIN_MAX;
}

/* Begin a chain at the end of a list that is not full. */
static inline void vhost_chain_begin(struct vhost_chain *c, const struct vhost_pieces *p)
{
	*c = (struct vhost_chain){.first = p->nb};
}

/* One descriptor, read once. */
static inline struct vring_desc vhost_chain_fetch(const struct vring_desc *at)
{
	const volatile struct vring_desc *d = at;

	return (struct vring_desc){
		.addr = d->addr, .len = d->len, .flags = d->flags, .next = d->next};
}

/* vhost_chain_append() from descriptor d on, which is the ring's. */
enum vb_drop vhost_chain_walk(struct vhost_chain *c, struct vhost_pieces *p,
	const struct vhost_vring *v, struct vring_desc d, bool writable);

/* Append the chain that begins at descriptor head, all of whose buffers must be
 * writable or all readable for us.  VHOST_CHAIN_OK, or why it is refused.
 */
static inline enum vb_drop vhost_chain_append(struct vhost_chain *c, struct vhost_pieces *p,
	const struct vhost_vring *v, uint16_t head, bool writable)
{
	const volatile struct vring_desc *d = &v->desc[head];
	uint32_t len, here;
	uint16_t flags, next;
	uint64_t gpa;
	uint8_t *at;

	if (unlikely(head >= v->size))
		return VB_DROP_DESC_INDEX;
	/* Each once, as vhost_chain_fetch() does, but into registers: two cycles a packet. */
	gpa = d->addr;
	len = d->len;
	flags = d->flags;
	next = d->next;
	here = len;
	at = vhost_memory_at(v->memory, gpa, &here);
	/* Nearly always a chain is one buffer, and lies in one region. */
	if (unlikely(flags != (writable ? VRING_DESC_F_WRITE : 0) || c->nb_pieces != 0 ||
		     len == 0 || at == NULL || here != len))
		return vhost_chain_walk(c, p, v,
			(struct vring_desc){.addr = gpa, .len = len, .flags = flags, .next = next},
			writable);
	c->nb_pieces = 1;
	c->bytes = len;
	p->at[p->nb++] = (struct vhost_piece){.at = at, .gpa = gpa, .len = len};
	return VHOST_CHAIN_OK;
}

/* A copy, which for short frames costs less to do than to call.  A guest may have its
 * buffers overlap, and what is lent is copied from one to the other.
 */
static inline void vhost_copy(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (unlikely(len < 16 || len > VHOST_SHORT)) {
		memmove(to, from, len);
		return;
	}
	for (uint32_t i = 0; i + 16 < len; i += 16)
		rte_mov16(to + i, from + i);
	rte_mov16(to + len - 16, from + len - 16);
}

/* A place in a chain. */
struct vhost_cursor {
	const struct vhost_piece *piece;
	uint32_t offset;
};

static inline struct vhost_cursor vhost_cursor_at(
	const struct vhost_chain *c, const struct vhost_pieces *p)
{
	return (struct vhost_cursor){.piece = &p->at[c->first]};
}

/* How many of len bytes follow the cursor in a row, and move it past them. */
static inline uint32_t vhost_cursor_step(struct vhost_cursor *c, uint32_t len)
{
	uint32_t left = c->piece->len - c->offset;

	if (len < left) {
		c->offset += len;
		return len;
	}
	c->piece++;
	c->offset = 0;
	return left;
}

/* vhost_chain_read() and vhost_chain_write() over several pieces. */
void vhost_chain_gather(struct vhost_cursor *c, void *to, uint32_t len);
void vhost_chain_scatter(
	struct vhost_cursor *c, const void *from, uint32_t len, const struct vhost_log *log);

/* Copy len bytes, which the chain has, from the cursor on, and move it on. */
static inline void vhost_chain_read(struct vhost_cursor *c, void *to, uint32_t len)
{
	const uint8_t *from = c->piece->at + c->offset;

	if (likely(len <= c->piece->len - c->offset))
		vhost_copy(to, from, vhost_cursor_step(c, len));
	else
		vhost_chain_gather(c, to, len);
}

/* The same the other way; log, if not NULL, is told. */
static inline void vhost_chain_write(
	struct vhost_cursor *c, const void *from, uint32_t len, const struct vhost_log *log)
{
	uint8_t *to = c->piece->at + c->offset;

	if (likely(log == NULL && len <= c->piece->len - c->offset))
		vhost_copy(to, from, vhost_cursor_step(c, len));
	else
		vhost_chain_scatter(c, from, len, log);
}

#endif
