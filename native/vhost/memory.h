/* SPDX-License-Identifier: Apache-2.0
 *
 * Guest memory, as a frontend shares it: a table of regions, each a piece of a
 * file, mapped here.  Three kinds of addresses meet in it: the guest's physical
 * ones (gpa, in descriptors), the frontend's own (uva, in ring addresses), ours.
 *
 * Nothing in a table is trusted: regions must not overlap or wrap, and must lie in
 * their file, whose size is sealed where it can be.  Should the file shrink all the
 * same, guard.h has it that the process lives.
 *
 * A table is immutable once mapped; a new one replaces it as a whole.
 */
#ifndef VHOST_MEMORY_H
#define VHOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* VHOST_MEMORY_BASELINE_NREGIONS of the protocol. */
#define VHOST_REGIONS_MAX 8

/* A region as the protocol describes it (vhost-user, "Memory regions description"). */
struct vhost_region_offer {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t offset; /* of its first byte in its file */
};

struct vhost_region {
	struct vhost_region_offer offer;
	uint8_t *at; /* where gpa lies */
	void *map;
	size_t map_len;
	int fd;	   /* owned; a standby is told of it */
	int guard; /* its number with guard.h */
};

struct vhost_memory {
	uint32_t nb_regions;
	struct vhost_region regions[VHOST_REGIONS_MAX];
};

/* Whether the regions could be of one guest, whatever is behind them. */
bool vhost_memory_plausible(const struct vhost_region_offer *offers, uint32_t n);

/* Map n plausible regions, whose fds are taken over, on failure too.
 * -EFBIG: one ends beyond its file.  Else -errno.
 */
int vhost_memory_map(const struct vhost_region_offer *offers, const int *fds, uint32_t n,
	struct vhost_memory **out);

/* No worker uses it any more.  NULL is fine. */
void vhost_memory_unmap(struct vhost_memory *m);

/* Whether a region's file has become too small for it. */
bool vhost_memory_lost(const struct vhost_memory *m);

/* Our address of gpa and how many of the *len bytes (not 0) follow it in a row, or NULL. */
static inline uint8_t *vhost_memory_at(const struct vhost_memory *m, uint64_t gpa, uint32_t *len)
{
	for (uint32_t i = 0; i < m->nb_regions; i++) {
		const struct vhost_region *r = &m->regions[i];
		uint64_t offset = gpa - r->offer.gpa;

		if (offset < r->offer.size) {
			uint64_t left = r->offer.size - offset;

			if (left < *len)
				*len = left;
			return r->at + offset;
		}
	}
	return NULL;
}

/* Our address of len bytes at the frontend's uva, or NULL. */
void *vhost_memory_at_uva(const struct vhost_memory *m, uint64_t uva, uint64_t len);

#endif
