/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see backlog.h.
 */
#include "probe/backlog.h"

#include <errno.h>
#include <rte_cycles.h>
#include <string.h>

#include "probe/pages.h"

#define ALIGN 8u

int vb_backlog_init(struct vb_backlog *b, uint64_t size)
{
	void *memory;

	size = rte_align64prevpow2(RTE_MAX(size, (uint64_t)VB_BACKLOG_MIN));
	/* Filled in now: a worker should not meet page faults. */
	memory = vb_pages_get(size, MAP_POPULATE);
	if (memory == NULL)
		return -ENOMEM;
	b->memory = memory;
	b->size = size;
	return 0;
}

void vb_backlog_fini(struct vb_backlog *b)
{
	if (b->memory != NULL)
		vb_pages_give(b->memory, b->size);
}

static struct vb_record *at(const struct vb_backlog *b, uint64_t position)
{
	return (struct vb_record *)(b->memory + (position & (b->size - 1)));
}

/* Room for a record of size bytes, in one piece; NULL: there is none. */
static struct vb_record *claim(struct vb_backlog *b, uint32_t size)
{
	uint64_t to_end = b->size - (b->head & (b->size - 1));
	uint64_t filler = size > to_end ? to_end : 0;
	uint64_t used = b->head - __atomic_load_n(&b->tail, __ATOMIC_ACQUIRE);

	if (b->size - used < filler + size)
		return NULL;
	if (filler > 0) {
		struct vb_record *r = at(b, b->head);

		/* All that there may be room for. */
		r->size = filler;
		r->kind = VB_RECORD_FILLER;
		__atomic_store_n(&b->head, b->head + filler, __ATOMIC_RELEASE);
	}
	return at(b, b->head);
}

static void copy(uint8_t *to, const struct rte_mbuf *m, uint32_t left)
{
	for (; left > 0; m = m->next) {
		uint32_t n = RTE_MIN(left, (uint32_t)m->data_len);

		memcpy(to, rte_pktmbuf_mtod(m, const void *), n);
		to += n;
		left -= n;
	}
}

bool vb_backlog_put(struct vb_backlog *b, const struct rte_mbuf *m, uint32_t kept, uint32_t kind)
{
	uint32_t size = RTE_ALIGN_CEIL(sizeof(struct vb_record) + kept, ALIGN);
	struct vb_record *r = claim(b, size);

	if (r == NULL)
		return false;
	r->size = size;
	r->kind = kind;
	r->tsc = rte_rdtsc();
	r->length = m->pkt_len;
	r->kept = kept;
	copy(r->data, m, kept);
	__atomic_store_n(&b->head, b->head + size, __ATOMIC_RELEASE);
	return true;
}

const struct vb_record *vb_backlog_first(struct vb_backlog *b)
{
	while (b->tail != __atomic_load_n(&b->head, __ATOMIC_ACQUIRE)) {
		const struct vb_record *r = at(b, b->tail);

		if (r->kind != VB_RECORD_FILLER)
			return r;
		vb_backlog_pop(b, r);
	}
	return NULL;
}

void vb_backlog_pop(struct vb_backlog *b, const struct vb_record *record)
{
	__atomic_store_n(&b->tail, b->tail + record->size, __ATOMIC_RELEASE);
}
