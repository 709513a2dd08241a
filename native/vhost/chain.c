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

/* One descriptor, read once. */
static struct vring_desc fetch(const struct vring_desc *at)
{
	const volatile struct vring_desc *d = at;

	return (struct vring_desc){
		.addr = d->addr, .len = d->len, .flags = d->flags, .next = d->next};
}

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
static enum vb_drop append(
	struct vhost_chain *c, const struct vhost_memory *memory, uint64_t gpa, uint32_t len)
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
		c->pieces[c->nb_pieces++] =
			(struct vhost_piece){.at = at, .gpa = gpa, .len = here};
		gpa += here;
		len -= here;
	}
	return VHOST_CHAIN_OK;
}

enum vb_drop vhost_chain_append(
	struct vhost_chain *c, const struct vhost_vring *v, uint16_t head, bool writable)
{
	struct walk w = {.table = v->desc, .entries = v->size};
	uint32_t i = head;

	for (;;) {
		struct vring_desc d;
		enum vb_drop why;

		if (i >= w.entries)
			return VB_DROP_DESC_INDEX;
		d = fetch(&w.table[i]);
		if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
			why = enter(&w, v, &d);
			if (why != VHOST_CHAIN_OK)
				return why;
			i = 0;
			continue;
		}
		if (((d.flags & VRING_DESC_F_WRITE) != 0) != writable)
			return VB_DROP_DESC_DIRECTION;
		why = append(c, v->memory, d.addr, d.len);
		if (why != VHOST_CHAIN_OK || (d.flags & VRING_DESC_F_NEXT) == 0)
			return why;
		i = d.next;
	}
}

void vhost_chain_read(struct vhost_cursor *c, void *to, uint32_t len)
{
	uint8_t *out = to;

	while (len > 0) {
		uint32_t here = RTE_MIN(c->piece->len - c->offset, len);

		memcpy(out, c->piece->at + c->offset, here);
		out += here;
		len -= here;
		c->offset += here;
		if (c->offset == c->piece->len) {
			c->piece++;
			c->offset = 0;
		}
	}
}

void vhost_chain_write(
	struct vhost_cursor *c, const void *from, uint32_t len, const struct vhost_log *log)
{
	const uint8_t *in = from;

	while (len > 0) {
		uint32_t here = RTE_MIN(c->piece->len - c->offset, len);

		memcpy(c->piece->at + c->offset, in, here);
		if (unlikely(log != NULL))
			vhost_log_write(log, c->piece->gpa + c->offset, here);
		in += here;
		len -= here;
		c->offset += here;
		if (c->offset == c->piece->len) {
			c->piece++;
			c->offset = 0;
		}
	}
}
