/* SPDX-License-Identifier: Apache-2.0
 *
 * Mapping a dirty log; see log.h.
 */
#include "vhost/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vhost/foreign.h"
#include "vhost/guard.h"

/* The log of 16 TiB of guest memory; also keeps the sums below from wrapping. */
#define LOG_MAX (1ULL << 29)

static int check(int fd, uint64_t size, uint64_t offset)
{
	struct stat st;

	if (size == 0 || size > LOG_MAX || offset > LOG_MAX)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) && size + offset <= (uint64_t)st.st_size ? 0 : -EFBIG;
}

int vhost_log_map(int fd, uint64_t size, uint64_t offset, struct vhost_log **out)
{
	struct vhost_log *log = calloc(1, sizeof(*log));
	int ret = log != NULL ? check(fd, size, offset) : -ENOMEM;

	if (ret == 0) {
		/* From the start: the offset need not be a page's. */
		log->map_len = size + offset;
		log->map = mmap(NULL, log->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ret = log->map != MAP_FAILED ? 0 : -errno;
	}
	if (ret == 0) {
		log->guard = vhost_guard_add(log->map, log->map_len);
		ret = log->guard < 0 ? log->guard : 0;
		if (ret != 0)
			munmap(log->map, log->map_len);
	}
	if (ret != 0) {
		free(log);
		vhost_foreign_close(fd);
		return ret;
	}
	log->bits = (uint8_t *)log->map + offset;
	log->nb_pages = size * 8;
	log->size = size;
	log->offset = offset;
	log->fd = fd;
	*out = log;
	return 0;
}

void vhost_log_unmap(struct vhost_log *log)
{
	if (log == NULL)
		return;
	vhost_guard_remove(log->guard);
	munmap(log->map, log->map_len);
	vhost_foreign_close(log->fd);
	free(log);
}
