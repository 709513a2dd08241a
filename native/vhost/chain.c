/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking a chain of descriptors that the guest may change meanwhile; see ring.h for
 * what is not believed.
 */
#include "vhost/chain.h"

#include <string.h>

/* Where the walk is: the ring's own descriptors, or an indirect table. */
struct walk {
	const struct vring_desc *table;
	uint32_t entries;
	bool nested;
};

/* Go on in the table that d points to (virtio 1.1 section 2.6.5.3). */
static enum vb_drop enter(struct walk *w, const struct vhost_vring *v, const struct vring_desc *d)
{
	uint32_t len = d->len;
	const uint8_t *table;

	if (!v->indirect || w->nested || (d->flags & VRING_DESC_F_NEXT) != 0 || len == 0 ||
		len % sizeof(struct vring_desc) != 0)
		return VB_DROP_DESC_INDIRECT;
	table = vhost_memory_at(v->memory, d->addr, &len);
	if (table == NULL || len != d->len)
		return VB_DROP_DESC_MEMORY;
	w->table = (const struct vring_desc *)table;
	w->entries = len / sizeof(struct vring_desc);
	w->nested = true;
	return VHOST_CHAIN_OK;
}

/* Append a buffer, in as many pieces as it has in our memory.  That there may only be so
 * many, full or empty, is also what ends a chain that loops.
 */
static enum vb_drop append(struct vhost_chain *c, struct vhost_pieces *p,
	const struct vhost_memory *memory, uint64_t gpa, uint32_t len)
{
	if (c->bytes + len < len)
		return VB_DROP_DESC_MEMORY; /* together more than any memory has */
	if (unlikely(len == 0) && c->nb_empty++ == VHOST_CHAIN_MAX)
		return VB_DROP_DESC_CHAIN;
	c->bytes += len;
	while (len > 0) {
		uint32_t here = len;
		uint8_t *at = vhost_memory_at(memory, gpa, &here);

		if (at == NULL)
			return VB_DROP_DESC_MEMORY;
		if (c->nb_pieces == VHOST_CHAIN_MAX)
			return VB_DROP_DESC_CHAIN;
		c->nb_pieces++;
		p->at[p->nb++] = (struct vhost_piece){.at = at, .gpa = gpa, .len = here};
		gpa += here;
		len -= here;
	}
	return VHOST_CHAIN_OK;
}

enum vb_drop vhost_chain_walk(struct vhost_chain *c, struct vhost_pieces *p,
	const struct vhost_vring *v, struct vring_desc d, bool writable)
{
	struct walk w = {.table = v->desc, .entries = v->size};

	for (;;) {
		enum vb_drop why;
		uint32_t i;

		if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
			why = enter(&w, v, &d);
			if (why != VHOST_CHAIN_OK)
				return why;
			i = 0;
		} else {
			if (((d.flags & VRING_DESC_F_WRITE) != 0) != writable)
				return VB_DROP_DESC_DIRECTION;
			why = append(c, p, v->memory, d.addr, d.len);
			if (why != VHOST_CHAIN_OK || (d.flags & VRING_DESC_F_NEXT) == 0)
				return why;
			i = d.next;
		}
		if (i >= w.entries)
			return VB_DROP_DESC_INDEX;
		d = vhost_chain_fetch(&w.table[i]);
	}
}

void vhost_chain_gather(struct vhost_cursor *c, void *to, uint32_t len)
{
	uint8_t *out = to;

	while (len > 0) {
		const uint8_t *from = c->piece->at + c->offset;
		uint32_t here = vhost_cursor_step(c, len);

		memcpy(out, from, here);
		out += here;
		len -= here;
	}
}

void vhost_chain_scatter(
	struct vhost_cursor *c, const void *from, uint32_t len, const struct vhost_log *log)
{
	const uint8_t *in = from;

	while (len > 0) {
		uint8_t *to = c->piece->at + c->offset;
		uint64_t gpa = c->piece->gpa + c->offset;
		uint32_t here = vhost_cursor_step(c, len);

		memmove(to, in, here); /* see vhost_copy() */
		if (unlikely(log != NULL))
			vhost_log_write(log, gpa, here);
		in += here;
		len -= here;
	}
}
