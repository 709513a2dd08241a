/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker polls in a round: that which has had packets of late, and a part of the
 * rest in turn; all of it if there was nothing in the round before.  So a hundred idle
 * ports beside a busy one cost it next to nothing, and the first packet of an idle one
 * waits for VB_ROTA_TURNS rounds at most.
 *
 * Polls are known by their number in the snapshot.  When that changes others have their
 * numbers, which does no harm: whoever is taken for idle and is not is found at his turn.
 */
#ifndef VB_ROTA_H
#define VB_ROTA_H

#include <stdbool.h>
#include <stdint.h>

#define VB_ROTA_TURNS 32  /* rounds until all have been polled */
#define VB_ROTA_EMPTY 255 /* polls in a row that found nothing make an idle one */
#define VB_ROTA_WORDS 128 /* of 64 polls; who comes after shares their bits */

/* A worker's own. */
struct vb_rota {
	uint32_t round;
	bool found; /* in the last round: something */
	uint64_t busy[VB_ROTA_WORDS];
	uint8_t empty[VB_ROTA_WORDS * 64]; /* polls in a row */
};

/* Which of polls 64 * word and on are due, of nb in all: a bit each. */
static inline uint64_t vb_rota_due(const struct vb_rota *r, uint32_t word, uint32_t nb)
{
	const uint64_t turn = 0x0000000100000001ULL << r->round % VB_ROTA_TURNS;
	uint64_t due = r->found ? r->busy[word % VB_ROTA_WORDS] | turn : UINT64_MAX;
	uint32_t left = nb - word * 64;

	return left >= 64 ? due : due & ((1ULL << left) - 1);
}

/* Poll i was due, and found something or nothing. */
static inline void vb_rota_note(struct vb_rota *r, uint32_t i, bool found)
{
	uint64_t *busy = &r->busy[i / 64 % VB_ROTA_WORDS], bit = 1ULL << i % 64;
	uint8_t *empty = &r->empty[i % (VB_ROTA_WORDS * 64)];

	if (found) {
		*empty = 0;
		*busy |= bit;
	} else if (*empty == VB_ROTA_EMPTY) {
		*busy &= ~bit;
	} else {
		++*empty;
	}
}

/* A round is over. */
static inline void vb_rota_next(struct vb_rota *r, bool found)
{
	r->round++;
	r->found = found;
}

#endif
