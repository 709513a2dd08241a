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

#define MAGIC 0x0002484749454e42 /* "BNEIGH", version 2 */
#define WAYS 8

struct vb_neigh_file {
	uint64_t magic;
	struct vb_neigh entries[VB_NEIGH_MAX]; /* MACs, then addresses */
};

static uint32_t check_of(const struct vb_neigh *n)
{
	/* Never 0, the mark of a free entry. */
	return rte_hash_crc(n, offsetof(struct vb_neigh, check), (uint32_t)MAGIC) | 1;
}

uint32_t vb_neigh_origin(const char *brick_name)
{
	/* Never 0, which is nobody's. */
	return rte_hash_crc(brick_name, strlen(brick_name), 0) | 1;
}

/* Whether fd is such a file; an empty one becomes one. */
static bool is_ours(int fd)
{
	uint64_t magic = MAGIC;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	if (st.st_size == sizeof(struct vb_neigh_file))
		return pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == MAGIC;
	/* Room is made now, since a worker that wrote to a page that a full tmpfs cannot
	 * give would get SIGBUS.
	 */
	return st.st_size == 0 && posix_fallocate(fd, 0, sizeof(struct vb_neigh_file)) == 0 &&
	       pwrite(fd, &magic, sizeof(magic), 0) == sizeof(magic);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	struct stat st = {0};

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_ours(fd))
		return fd;
	close(fd);
	return S_ISREG(st.st_mode) ? -ESTALE : -EINVAL;
}

/* A file that is of no use is replaced, never cut off: a process of another version may
 * have it mapped.
 */
static int open_or_begin(const char *path)
{
	int fd = open_file(path, 0);

	if (fd != -ESTALE && fd != -EACCES)
		return fd;
	if (unlink(path) != 0)
		return fd;
	fd = open_file(path, O_EXCL);
	return fd == -ESTALE ? -ENOSPC : fd;
}

int vb_neigh_init(struct vb_neigh_table *t, const char *path)
{
	int fd = path != NULL ? open_or_begin(path) : -1;
	int flags = MAP_POPULATE | (path != NULL ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);

	if (path != NULL && fd < 0)
		return fd;
	pthread_spin_init(&t->lock, PTHREAD_PROCESS_PRIVATE);
	t->file = mmap(NULL, sizeof(*t->file), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (t->file == MAP_FAILED) {
		t->file = NULL;
		return -ENOMEM;
	}
	return 0;
}

void vb_neigh_fini(struct vb_neigh_table *t)
{
	if (t->file != NULL)
		munmap(t->file, sizeof(*t->file));
	t->file = NULL;
}

/* The first of the WAYS entries among which n has its place. */
static struct vb_neigh *bucket_of(struct vb_neigh_file *file, const struct vb_neigh *n)
{
	struct vb_neigh *first = &file->entries[n->family == 0 ? 0 : VB_NEIGH_MACS];
	uint32_t buckets = (n->family == 0 ? VB_NEIGH_MACS : VB_NEIGH_ADDRESSES) / WAYS;
	uint32_t hash = n->family == 0 ? rte_hash_crc(n->mac, sizeof(n->mac), 0)
				       : rte_hash_crc(n->ip, sizeof(n->ip), n->family);

	return first + hash % buckets * WAYS;
}

static bool same_key(const struct vb_neigh *a, const struct vb_neigh *b)
{
	if (a->family != b->family)
		return false;
	return a->family == 0 ? memcmp(a->mac, b->mac, sizeof(a->mac)) == 0
			      : memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* The entry not heard of for longest, of origin's or, if it is 0, of all. */
static struct vb_neigh *oldest_of(struct vb_neigh *bucket, uint32_t origin, uint32_t now_s)
{
	struct vb_neigh *found = bucket;
	uint32_t oldest = 0;

	for (int i = 0; i < WAYS; i++) {
		/* Another worker's clock may be a second ahead. */
		uint32_t age = now_s + 1 - bucket[i].seen_s;

		if ((origin != 0 && bucket[i].origin != origin) || age < oldest)
			continue;
		oldest = age;
		found = &bucket[i];
	}
	return found;
}

/* The place for n: its own, a free one, else the oldest.  Damaged entries are taken for what
 * they seem to be, which costs no more than one that is remembered.
 */
static struct vb_neigh *place_for(struct vb_neigh_file *file, const struct vb_neigh *n)
{
	struct vb_neigh *bucket = bucket_of(file, n), *unused = NULL;
	int own = 0;

	for (int i = 0; i < WAYS; i++) {
		struct vb_neigh *e = &bucket[i];

		if (e->check == 0)
			unused = e;
		else if (same_key(e, n))
			return e;
		else
			own += e->origin == n->origin;
	}
	if (unused != NULL)
		return unused;
	return oldest_of(bucket, own >= WAYS / 2 ? n->origin : 0, n->seen_s);
}

static void put(struct vb_neigh_table *t, struct vb_neigh *n)
{
	if (pthread_spin_trylock(&t->lock) != 0)
		return;
	n->check = check_of(n);
	*place_for(t->file, n) = *n;
	pthread_spin_unlock(&t->lock);
}

void vb_neigh_note(struct vb_neigh_table *t, const uint8_t *mac, struct vb_neigh n)
{
	memcpy(n.mac, mac, sizeof(n.mac));
	put(t, &n);
}

void vb_neigh_snoop(struct vb_neigh_table *t, const struct rte_mbuf *m, struct vb_neigh n)
{
	if (vb_neigh_parse(m, &n))
		put(t, &n);
}

uint32_t vb_neigh_list(struct vb_neigh_table *t, uint32_t now_s, struct vb_neigh *out)
{
	uint32_t n = 0;

	pthread_spin_lock(&t->lock);
	for (uint32_t i = 0; i < VB_NEIGH_MAX; i++) {
		const struct vb_neigh *e = &t->file->entries[i];

		if (e->check == 0 || e->check != check_of(e))
			continue;
		if ((int32_t)(now_s - e->seen_s) <= VB_NEIGH_AGE_S)
			out[n++] = *e;
	}
	pthread_spin_unlock(&t->lock);
	return n;
}

void vb_neigh_share(struct vb_neigh_table *t, uint32_t origin)
{
	pthread_spin_lock(&t->lock);
	for (uint32_t i = 0; i < VB_NEIGH_MAX; i++) {
		struct vb_neigh *e = &t->file->entries[i];

		if (e->origin != origin || e->check != check_of(e))
			continue;
		e->shared = 1;
		e->check = check_of(e);
	}
	pthread_spin_unlock(&t->lock);
}

void vb_neigh_forget(struct vb_neigh_table *t, uint32_t origin)
{
	pthread_spin_lock(&t->lock);
	for (uint32_t i = 0; i < VB_NEIGH_MAX; i++)
		if (t->file->entries[i].origin == origin)
			memset(&t->file->entries[i], 0, sizeof(t->file->entries[i]));
	pthread_spin_unlock(&t->lock);
}
