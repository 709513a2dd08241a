/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory for copies of guests' packets: in no core dump, all zero, and the kernel's again as
 * soon as it is given back, which malloc does not promise.
 */
#ifndef VB_PAGES_H
#define VB_PAGES_H

#include <stddef.h>
#include <sys/mman.h>

/* flags: MAP_POPULATE, or 0; NULL: there is none. */
static inline void *vb_pages_get(size_t size, int flags)
{
	void *memory = mmap(
		NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, size, MADV_DONTDUMP);
	return memory;
}

static inline void vb_pages_give(void *memory, size_t size)
{
	munmap(memory, size);
}

#endif
