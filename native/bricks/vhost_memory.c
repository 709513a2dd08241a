/* SPDX-License-Identifier: Apache-2.0
 *
 * Guest memory that the brick cannot work with: noticed, and said.
 *
 * A guest whose memory is not shared boots with a dead network card, and nothing
 * is wrong for anybody to see but a line in QEMU's own log.  What arrives here
 * (seen with QEMU 7.2), when the guest's driver starts:
 *
 * - Memory with no file behind it: QEMU sets the features, cannot make a memory
 *   table, and sends nothing more; the connection stays.  So features start a
 *   clock, which a table stops.
 * - Huge pages that QEMU has mapped privately: a table comes, and shows rings that
 *   stay empty for ever.  But a guest whose driver runs has been written into
 *   memory, and such a file has not one page.  The table is refused: QEMU then says
 *   so too, and as nothing of ours touches the file, it is told from good ones again
 *   after a restart.  Of a memfd or a file on disk this cannot be told, because
 *   reading fills its holes; 'doctor' and 'domain check' find that in the domain.
 *   Where huge pages are short, mapping them once more fails, as in the next case.
 * - A table that ends beyond its file: refused, since a touch there is SIGBUS.
 *
 * "When the driver starts" is the point.  Other frontends agree on features, or
 * share memory, long before there is a guest.  QEMU does not, and is known by its
 * order: it enables a ring first.  Nobody else is judged by clock or pages.
 *
 * Handlers of messages run with the rings locked: no lock here but in the alarm,
 * which runs on DPDK's interrupt thread.
 */
#include <linux/magic.h>
#include <rte_alarm.h>
#include <rte_vhost.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "bricks/vhost.h"
#include "core/runtime.h"

#define TABLE_WAIT_US (3 * 1000 * 1000)

/* How far a session has come with its guest's memory. */
enum {
	MEMORY_UNKNOWN,
	MEMORY_OFFERED, /* a table came; the library is at it, or has failed */
	MEMORY_MAPPED,
	MEMORY_BAD, /* we have said why */
};

static void set_state(struct vhost_session *s, uint32_t state)
{
	__atomic_store_n(&s->memory.state, state, __ATOMIC_RELAXED);
}

static bool move_state(struct vhost_session *s, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(
		&s->memory.state, &from, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* ---- the clock ---- */

/* If it has led to nothing by now, say so; vb_lock held, or in a callback of s. */
static void give_up(struct vhost_session *s)
{
	if (move_state(s, MEMORY_UNKNOWN, MEMORY_BAD))
		vhost_fault(s->port, VB_FAULT_MEMORY_NOT_SHARED);
	else if (move_state(s, MEMORY_OFFERED, MEMORY_BAD))
		vhost_fault(s->port, VB_FAULT_MEMORY_UNUSABLE);
}

static void time_is_over(void *arg)
{
	uint64_t number = (uintptr_t)arg;
	struct vhost_session *s;

	pthread_mutex_lock(&vb_lock);
	s = vhost_session_numbered(number);
	if (s != NULL)
		give_up(s);
	pthread_mutex_unlock(&vb_lock);
}

void vhost_memory_ring_enabled(struct vhost_session *s)
{
	s->memory.ring_enabled = true;
}

void vhost_memory_features(struct vhost_session *s)
{
	if (!s->memory.ring_enabled || s->memory.driver_starts)
		return;
	s->memory.driver_starts = true;
	/* Without the clock we only say less. */
	(void)rte_eal_alarm_set(TABLE_WAIT_US, time_is_over, (void *)(uintptr_t)s->number);
}

/* ---- the table ---- */

static bool fits_its_file(const struct rte_vhost_mem_region *region, const struct stat *st)
{
	uint64_t offset = region->host_user_addr - (uintptr_t)region->mmap_addr;

	/* Of a device, such as a DAX one, the size says nothing. */
	return !S_ISREG(st->st_mode) || offset + region->size <= (uint64_t)st->st_size;
}

/* Private huge pages are never counted as the file's. */
static bool is_huge(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

/* What is wrong with a table that the library has mapped.  touched: it need not have been. */
static enum vb_fault judge(const struct rte_vhost_memory *memory, bool touched)
{
	for (uint32_t i = 0; i < memory->nregions; i++) {
		const struct rte_vhost_mem_region *region = &memory->regions[i];
		struct stat st;

		if (fstat(region->fd, &st) != 0 || !fits_its_file(region, &st))
			return VB_FAULT_MEMORY_UNUSABLE;
		touched |= st.st_blocks > 0 || !is_huge(region->fd);
	}
	return touched ? VB_FAULT_NONE : VB_FAULT_MEMORY_NOT_SHARED;
}

void vhost_memory_offered(struct vhost_session *s)
{
	set_state(s, MEMORY_OFFERED);
}

bool vhost_memory_mapped(struct vhost_session *s)
{
	struct rte_vhost_memory *memory = NULL;
	enum vb_fault fault;

	if (rte_vhost_get_mem_table(s->vid, &memory) != 0)
		return false;
	fault = judge(memory, !s->memory.driver_starts);
	free(memory);
	set_state(s, fault == VB_FAULT_NONE ? MEMORY_MAPPED : MEMORY_BAD);
	if (fault != VB_FAULT_NONE)
		vhost_fault(s->port, fault);
	return fault == VB_FAULT_NONE;
}

bool vhost_memory_is_bad(const struct vhost_session *s)
{
	return __atomic_load_n(&s->memory.state, __ATOMIC_RELAXED) == MEMORY_BAD;
}

bool vhost_memory_closed(struct vhost_session *s)
{
	/* Without REPLY_ACK a table that the library cannot map ends the connection. */
	if (move_state(s, MEMORY_OFFERED, MEMORY_BAD))
		vhost_fault(s->port, VB_FAULT_MEMORY_UNUSABLE);
	return vhost_memory_is_bad(s);
}
