/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapping guest memory; see memory.h.
 */
#define _GNU_SOURCE
#include "vhost/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vhost/foreign.h"
#include "vhost/guard.h"

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static bool wraps(uint64_t start, uint64_t len)
{
	return start + len < start;
}

bool vhost_memory_plausible(const struct vhost_region_offer *offers, uint32_t n)
{
	if (n < 1 || n > VHOST_REGIONS_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const struct vhost_region_offer *a = &offers[i];

		if (a->size == 0 || wraps(a->gpa, a->size) || wraps(a->uva, a->size) ||
			wraps(a->offset, a->size))
			return false;
		for (uint32_t j = 0; j < i; j++) {
			const struct vhost_region_offer *b = &offers[j];

			if (overlap(a->gpa, a->size, b->gpa, b->size) ||
				overlap(a->uva, a->size, b->uva, b->size))
				return false;
		}
	}
	return true;
}

/* Fix the file's size if its owner has not forbidden that, and look at it then. */
static int check_size(int fd, const struct vhost_region_offer *offer, struct stat *st)
{
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	if (fstat(fd, st) < 0)
		return -errno;
	/* Of a device, such as a DAX one, the size says nothing. */
	if (S_ISREG(st->st_mode) && offer->offset + offer->size > (uint64_t)st->st_size)
		return -EFBIG;
	return S_ISREG(st->st_mode) || S_ISCHR(st->st_mode) ? 0 : -EINVAL;
}

static int region_map(struct vhost_region *r)
{
	const struct vhost_region_offer *offer = &r->offer;
	uint64_t page, start;
	struct stat st;
	int ret = check_size(r->fd, offer, &st);

	if (ret != 0)
		return ret;
	/* Of hugetlbfs it is the page size, which every mapping must keep to. */
	page = st.st_blksize > 0 ? (uint64_t)st.st_blksize : 4096;
	start = offer->offset / page * page;
	r->map_len = (offer->offset + offer->size - start + page - 1) / page * page;
	r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, r->fd,
		start);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return -errno;
	}
	(void)madvise(r->map, r->map_len, MADV_DONTDUMP);
	r->at = (uint8_t *)r->map + (offer->offset - start);
	r->guard = vhost_guard_add(r->map, r->map_len);
	return r->guard < 0 ? r->guard : 0;
}

int vhost_memory_map(const struct vhost_region_offer *offers, const int *fds, uint32_t n,
	struct vhost_memory **out)
{
	struct vhost_memory *m = calloc(1, sizeof(*m));
	int ret = m != NULL ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n; i++) {
		if (m == NULL) {
			vhost_foreign_close(fds[i]);
			continue;
		}
		m->regions[i].offer = offers[i];
		m->regions[i].fd = fds[i];
		m->regions[i].guard = -1;
		m->nb_regions = i + 1;
		if (ret == 0)
			ret = region_map(&m->regions[i]);
	}
	if (ret != 0) {
		vhost_memory_unmap(m);
		return ret;
	}
	*out = m;
	return 0;
}

void vhost_memory_unmap(struct vhost_memory *m)
{
	if (m == NULL)
		return;
	for (uint32_t i = 0; i < m->nb_regions; i++) {
		struct vhost_region *r = &m->regions[i];

		if (r->guard >= 0)
			vhost_guard_remove(r->guard);
		if (r->map != NULL)
			munmap(r->map, r->map_len);
		vhost_foreign_close(r->fd);
	}
	free(m);
}

bool vhost_memory_lost(const struct vhost_memory *m)
{
	for (uint32_t i = 0; i < m->nb_regions; i++)
		if (vhost_guard_lost(m->regions[i].guard))
			return true;
	return false;
}

void *vhost_memory_at_uva(const struct vhost_memory *m, uint64_t uva, uint64_t len)
{
	for (uint32_t i = 0; i < m->nb_regions; i++) {
		const struct vhost_region *r = &m->regions[i];
		uint64_t offset = uva - r->offer.uva;

		if (offset < r->offer.size && len <= r->offer.size - offset)
			return r->at + offset;
	}
	return NULL;
}
