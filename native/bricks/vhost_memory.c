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
 * - A table that ends beyond its file, or cannot be mapped: refused.
 *
 * "When the driver starts" is the point.  Other frontends agree on features, or
 * share memory, long before there is a guest.  QEMU does not, and is known by its
 * order: it enables a ring first.  Nobody else is judged by clock or pages.
 */
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "bricks/vhost.h"
#include "core/clock.h"

#define TABLE_WAIT_NS (3ULL * 1000 * 1000 * 1000)

/* ---- the clock ---- */

static void driver_starts(struct vhost_session *s)
{
	if (!s->memory.ring_enabled || s->memory.driver_starts)
		return;
	s->memory.driver_starts = true;
	if (!s->memory.offered)
		s->memory.due = vb_monotonic_ns() + TABLE_WAIT_NS;
}

void vhost_memory_note(struct vhost_session *s, const struct vhost_message *msg)
{
	if (msg->header.request == VHOST_SET_VRING_ENABLE && msg->payload.state.num != 0)
		s->memory.ring_enabled = true;
	else if (msg->header.request == VHOST_SET_FEATURES)
		driver_starts(s);
}

void vhost_memory_check_clock(struct vhost_session *s, uint64_t now)
{
	if (s->memory.due == 0 || now < s->memory.due)
		return;
	s->memory.due = 0;
	s->memory.bad = VB_FAULT_MEMORY_NOT_SHARED;
	vhost_fault(s->port, VB_FAULT_MEMORY_NOT_SHARED);
}

/* ---- the table ---- */

/* Private huge pages are never counted as the file's. */
static bool is_huge(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

/* Whether anybody has ever written to the memory, as far as can be told. */
static bool is_touched(const struct vhost_memory *memory)
{
	for (uint32_t i = 0; i < memory->nb_regions; i++) {
		int fd = memory->regions[i].fd;
		struct stat st;

		if (!is_huge(fd) || (fstat(fd, &st) == 0 && st.st_blocks > 0))
			return true;
	}
	return false;
}

bool vhost_memory_forbids(const struct vhost_session *s, const struct vhost_message *msg)
{
	return s->memory.bad != VB_FAULT_NONE &&
	       (msg->header.request == VHOST_SET_VRING_ADDR ||
		       msg->header.request == VHOST_SET_VRING_KICK);
}

void vhost_memory_judge(struct vhost_session *s, struct vhost_outcome *outcome)
{
	s->memory.offered = true;
	s->memory.due = 0;
	if (outcome->fault == VB_FAULT_NONE && s->memory.driver_starts &&
		!is_touched(s->device.memory)) {
		vhost_device_forget_memory(&s->device);
		outcome->fault = VB_FAULT_MEMORY_NOT_SHARED;
		outcome->refused = true;
	}
	s->memory.bad = outcome->fault;
}
