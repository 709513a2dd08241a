/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch's MAC table: which edge an address was last seen on.
 *
 * A set-associative cache of 8 addresses a bucket.  An entry is one 64-bit word
 * (48 bits of address, 16 of edge), so that workers read and write it without
 * a lock: they see the old entry or the new one, never a mixture.  A race
 * between two workers can only lose one sighting, which the next packet mends.
 * The bucket is one cache line; the time stamps lie apart, and are written once
 * a second at most.
 */
#ifndef VB_MAC_TABLE_H
#define VB_MAC_TABLE_H

#include <rte_common.h>
#include <rte_hash_crc.h>
#include <stdint.h>

#include "core/brick.h"

#define VB_MAC_WAYS 8
#define VB_MAC_NEWS_S 256 /* an address that talks is news so often, more or less */

struct vb_mac_bucket {
	uint64_t entry[VB_MAC_WAYS]; /* address << 16 | edge; 0: free */
} __rte_cache_aligned;

struct vb_mac_table {
	uint32_t mask;	/* buckets - 1 */
	uint32_t seed;	/* so that guests cannot aim at a bucket */
	uint32_t age_s; /* 0: for ever */
	struct vb_mac_bucket *buckets;
	uint32_t *stamps; /* VB_MAC_WAYS a bucket: seconds of the last sighting */
};

/* size: addresses, a power of two from VB_MAC_WAYS.  -EINVAL, -ENOMEM. */
int vb_mac_table_init(struct vb_mac_table *t, uint32_t size, uint32_t age_s);
void vb_mac_table_fini(struct vb_mac_table *t);

/* Forget every address of an edge.  Only when no worker uses the edge. */
void vb_mac_table_forget(struct vb_mac_table *t, uint16_t edge);

/* Entries that have not aged out. */
uint32_t vb_mac_table_count(const struct vb_mac_table *t, uint32_t now_s);

/* vb_mac_learn()'s slow part: the bucket's way (-1: none) does not say just this. */
bool vb_mac_table_learn(
	struct vb_mac_table *t, uint32_t bucket, int way, uint64_t wanted, uint32_t now_s);

/* The address at p (6 bytes of a frame) as a number. */
static inline uint64_t vb_mac_load(const uint8_t *p)
{
	uint32_t low;
	uint16_t high;

	__builtin_memcpy(&low, p, 4);
	__builtin_memcpy(&high, p + 4, 2);
	return (uint64_t)high << 32 | low;
}

static inline uint32_t vb_mac_bucket_of(const struct vb_mac_table *t, uint64_t mac)
{
	return rte_hash_crc_8byte(mac, t->seed) & t->mask;
}

/* The way of its bucket that holds mac, or -1. */
static inline int vb_mac_find(
	const struct vb_mac_table *t, uint32_t bucket, uint64_t mac, uint64_t *entry)
{
	const uint64_t *e = t->buckets[bucket].entry;

	for (int i = 0; i < VB_MAC_WAYS; i++) {
		*entry = __atomic_load_n(&e[i], __ATOMIC_RELAXED);
		if (*entry >> 16 == mac)
			return i;
	}
	return -1;
}

/* mac (not 0) was seen on edge.  True: that is worth a note, because it is news, or because
 * it has not been for some minutes; never for an address that is known and talks.
 */
static inline bool vb_mac_learn(
	struct vb_mac_table *t, uint64_t mac, uint16_t edge, uint32_t now_s)
{
	uint32_t bucket = vb_mac_bucket_of(t, mac);
	uint64_t entry, wanted = mac << 16 | edge;
	int way = vb_mac_find(t, bucket, mac, &entry);

	if (likely(way >= 0 && entry == wanted &&
		    __atomic_load_n(&t->stamps[bucket * VB_MAC_WAYS + way], __ATOMIC_RELAXED) ==
			    now_s))
		return false;
	return vb_mac_table_learn(t, bucket, way, wanted, now_s);
}

/* Whether mac was last seen on an edge, however long ago; *edge is that one. */
static inline bool vb_mac_is_known(const struct vb_mac_table *t, uint64_t mac, uint16_t *edge)
{
	uint64_t entry;
	int way = vb_mac_find(t, vb_mac_bucket_of(t, mac), mac, &entry);

	*edge = (uint16_t)entry;
	return way >= 0 && entry != 0;
}

/* The edge mac was last seen on, or VB_NO_EDGE. */
static inline uint16_t vb_mac_lookup(const struct vb_mac_table *t, uint64_t mac, uint32_t now_s)
{
	uint32_t bucket = vb_mac_bucket_of(t, mac);
	uint64_t entry;
	int way = vb_mac_find(t, bucket, mac, &entry);

	if (way < 0 || entry == 0) /* a free entry looks like address 0 */
		return VB_NO_EDGE;
	if (t->age_s != 0) {
		const uint32_t *stamp = &t->stamps[bucket * VB_MAC_WAYS + way];

		/* Another worker's clock may be a second ahead: signed. */
		if ((int32_t)(now_s - __atomic_load_n(stamp, __ATOMIC_RELAXED)) >
			(int32_t)t->age_s)
			return VB_NO_EDGE;
	}
	return (uint16_t)entry;
}

#endif
