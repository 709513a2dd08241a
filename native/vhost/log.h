/* SPDX-License-Identifier: Apache-2.0
 *
 * The dirty log of a guest that is being migrated: a bit a page of guest memory,
 * in memory that the frontend shares (vhost-user, "Migration").  A page that the
 * datapath has written to is marked after the write and before the guest hears of
 * it.  Immutable but for its bits; replaced as a whole.
 */
#ifndef VHOST_LOG_H
#define VHOST_LOG_H

#include <stdint.h>

#define VHOST_LOG_PAGE 4096

struct vhost_log {
	uint8_t *bits;
	uint64_t nb_pages;
	void *map;
	uint64_t map_len;
	uint64_t size;	 /* as the frontend said, for a standby */
	uint64_t offset; /* the same */
	int fd;		 /* owned */
	int guard;	 /* its number with guard.h */
};

/* Map the log: size bytes at offset of fd, which is taken over, on failure too.  -errno. */
int vhost_log_map(int fd, uint64_t size, uint64_t offset, struct vhost_log **out);

/* No worker uses it any more.  NULL is fine. */
void vhost_log_unmap(struct vhost_log *log);

/* Mark the pages of len bytes (not 0) from gpa on. */
static inline void vhost_log_write(const struct vhost_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t last = (gpa + len - 1) / VHOST_LOG_PAGE;

	for (uint64_t page = gpa / VHOST_LOG_PAGE; page <= last && page < log->nb_pages; page++)
		__atomic_fetch_or(&log->bits[page / 8], 1 << page % 8, __ATOMIC_RELEASE);
}

#endif
