/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see mac_table.h.
 */
#include "bricks/mac_table.h"

#include <errno.h>
#include <rte_random.h>
#include <stdlib.h>
#include <string.h>

int vb_mac_table_init(struct vb_mac_table *t, uint32_t size, uint32_t age_s)
{
	uint32_t buckets = size / VB_MAC_WAYS;

	if (size < VB_MAC_WAYS || size > 1048576 || (size & (size - 1)) != 0 || age_s > INT32_MAX)
		return -EINVAL;
	t->mask = buckets - 1;
	t->seed = rte_rand();
	t->age_s = age_s;
	t->buckets = aligned_alloc(RTE_CACHE_LINE_SIZE, buckets * sizeof(*t->buckets));
	t->stamps = calloc(size, sizeof(*t->stamps));
	if (t->buckets == NULL || t->stamps == NULL) {
		vb_mac_table_fini(t);
		return -ENOMEM;
	}
	memset(t->buckets, 0, buckets * sizeof(*t->buckets));
	return 0;
}

void vb_mac_table_fini(struct vb_mac_table *t)
{
	free(t->buckets);
	free(t->stamps);
	t->buckets = NULL;
	t->stamps = NULL;
}

/* Take an address that its bucket does not hold. */
static void insert(struct vb_mac_table *t, uint32_t bucket, uint64_t entry, uint32_t now_s)
{
	uint64_t *entries = t->buckets[bucket].entry;
	uint32_t *stamps = &t->stamps[bucket * VB_MAC_WAYS];
	uint32_t oldest_age = 0;
	int victim = 0;

	/* A free way, else the one not seen for longest. */
	for (int i = 0; i < VB_MAC_WAYS; i++) {
		uint32_t age = now_s - __atomic_load_n(&stamps[i], __ATOMIC_RELAXED);

		if (__atomic_load_n(&entries[i], __ATOMIC_RELAXED) == 0) {
			victim = i;
			break;
		}
		if (age > oldest_age && age <= INT32_MAX) {
			oldest_age = age;
			victim = i;
		}
	}
	__atomic_store_n(&stamps[victim], now_s, __ATOMIC_RELAXED);
	__atomic_store_n(&entries[victim], entry, __ATOMIC_RELAXED);
}

bool vb_mac_table_learn(
	struct vb_mac_table *t, uint32_t bucket, int way, uint64_t wanted, uint32_t now_s)
{
	uint64_t *entry;
	uint32_t *stamp, old_s;

	if (way < 0) {
		insert(t, bucket, wanted, now_s);
		return true;
	}
	entry = &t->buckets[bucket].entry[way];
	stamp = &t->stamps[bucket * VB_MAC_WAYS + way];
	old_s = __atomic_load_n(stamp, __ATOMIC_RELAXED);
	if (old_s != now_s)
		__atomic_store_n(stamp, now_s, __ATOMIC_RELAXED);
	if (__atomic_load_n(entry, __ATOMIC_RELAXED) != wanted) {
		__atomic_store_n(entry, wanted, __ATOMIC_RELAXED);
		return true;
	}
	return old_s / VB_MAC_NEWS_S != now_s / VB_MAC_NEWS_S;
}

void vb_mac_table_forget(struct vb_mac_table *t, uint16_t edge)
{
	for (uint32_t b = 0; b <= t->mask; b++) {
		for (int i = 0; i < VB_MAC_WAYS; i++) {
			uint64_t *e = &t->buckets[b].entry[i];
			uint64_t old = __atomic_load_n(e, __ATOMIC_RELAXED);

			/* Another worker may be moving the address to a live edge. */
			if (old != 0 && (uint16_t)old == edge)
				__atomic_compare_exchange_n(
					e, &old, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		}
	}
}

uint32_t vb_mac_table_count(const struct vb_mac_table *t, uint32_t now_s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < (t->mask + 1) * VB_MAC_WAYS; i++) {
		uint64_t e = __atomic_load_n(
			&t->buckets[i / VB_MAC_WAYS].entry[i % VB_MAC_WAYS], __ATOMIC_RELAXED);
		uint32_t stamp = __atomic_load_n(&t->stamps[i], __ATOMIC_RELAXED);

		if (e != 0 && (t->age_s == 0 || (int32_t)(now_s - stamp) <= (int32_t)t->age_s))
			n++;
	}
	return n;
}
