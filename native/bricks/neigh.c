/* SPDX-License-Identifier: Apache-2.0
 *
 * The neighbour table; see neigh.h for its theory of operation.  The packets are
 * neigh_packet.c's.
 */
#include "bricks/neigh.h"

#include <errno.h>
#include <fcntl.h>
#include <rte_hash_crc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bricks/neigh_packet.h"

#define MAGIC 0x0001484749454e42 /* "BNEIGH", version 1 */
#define WAYS 8
#define BUCKETS (VB_NEIGH_ENTRIES / WAYS)

struct vb_neigh_file {
	uint64_t magic;
	struct vb_neigh entries[VB_NEIGH_ENTRIES];
};

static uint32_t check_of(const struct vb_neigh *n)
{
	/* Never 0, the mark of a free entry. */
	return rte_hash_crc(n, offsetof(struct vb_neigh, check), (uint32_t)MAGIC) | 1;
}

uint32_t vb_neigh_origin(const char *brick_name)
{
	return rte_hash_crc(brick_name, strlen(brick_name), 0);
}

static int open_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	/* Of another size: of another version.  Room is made now, since a worker that
	 * wrote to a page that a full tmpfs cannot give would get SIGBUS.
	 */
	if ((st.st_size != sizeof(struct vb_neigh_file) && ftruncate(fd, 0) < 0) ||
		posix_fallocate(fd, 0, sizeof(struct vb_neigh_file)) != 0) {
		close(fd);
		return -ENOSPC;
	}
	return fd;
}

int vb_neigh_init(struct vb_neigh_table *t, const char *path)
{
	int fd = path != NULL ? open_file(path) : -1;
	int flags = MAP_POPULATE | (path != NULL ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);

	if (path != NULL && fd < 0)
		return fd;
	rte_spinlock_init(&t->lock);
	t->file = mmap(NULL, sizeof(*t->file), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (t->file == MAP_FAILED) {
		t->file = NULL;
		return -ENOMEM;
	}
	if (t->file->magic != MAGIC) {
		memset(t->file, 0, sizeof(*t->file));
		t->file->magic = MAGIC;
	}
	return 0;
}

void vb_neigh_fini(struct vb_neigh_table *t)
{
	if (t->file != NULL)
		munmap(t->file, sizeof(*t->file));
	t->file = NULL;
}

/* The place for n: its own, a free or damaged one, else the oldest. */
static struct vb_neigh *place_for(struct vb_neigh_file *file, const struct vb_neigh *n)
{
	uint32_t bucket = rte_hash_crc(n->ip, sizeof(n->ip), n->family) % BUCKETS;
	struct vb_neigh *e = &file->entries[bucket * WAYS], *victim = e;
	uint32_t oldest = 0;

	for (int i = 0; i < WAYS; i++, e++) {
		bool used = e->check != 0 && e->check == check_of(e);
		uint32_t age = used ? n->seen_s - e->seen_s : UINT32_MAX;

		if (used && e->family == n->family && memcmp(e->ip, n->ip, sizeof(n->ip)) == 0)
			return e;
		if (age > oldest) {
			oldest = age;
			victim = e;
		}
	}
	return victim;
}

void vb_neigh_snoop(
	struct vb_neigh_table *t, const struct rte_mbuf *m, uint32_t origin, uint32_t now_s)
{
	struct vb_neigh n = {.origin = origin, .seen_s = now_s};

	if (!vb_neigh_parse(m, &n) || !rte_spinlock_trylock(&t->lock))
		return;
	n.check = check_of(&n);
	*place_for(t->file, &n) = n;
	rte_spinlock_unlock(&t->lock);
}

uint32_t vb_neigh_list(struct vb_neigh_table *t, uint32_t origin, bool others, uint32_t now_s,
	struct vb_neigh *out, uint32_t max)
{
	uint32_t n = 0;

	rte_spinlock_lock(&t->lock);
	for (uint32_t i = 0; i < VB_NEIGH_ENTRIES && n < max; i++) {
		const struct vb_neigh *e = &t->file->entries[i];

		if (e->check == 0 || e->check != check_of(e))
			continue;
		if ((int32_t)(now_s - e->seen_s) > VB_NEIGH_AGE_S)
			continue;
		if ((e->origin != origin) == others)
			out[n++] = *e;
	}
	rte_spinlock_unlock(&t->lock);
	return n;
}
