/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of hosts, and sets of them in which a host has a number (its slot) that
 * stays the same from one set to the next: the MAC table refers to it.
 */
#define _GNU_SOURCE
#include "bricks/vxlan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 8

static bool is_host4(const struct in_addr *a)
{
	uint32_t host = ntohl(a->s_addr);

	return host != INADDR_ANY && host != INADDR_BROADCAST && !IN_MULTICAST(host);
}

static bool is_host6(const struct in6_addr *a)
{
	return !IN6_IS_ADDR_UNSPECIFIED(a) && !IN6_IS_ADDR_MULTICAST(a) &&
	       !IN6_IS_ADDR_V4MAPPED(a);
}

int vxlan_addr_parse(const char *text, uint16_t port, union vxlan_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->in.sin_addr) == 1) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons(port);
		return is_host4(&out->in.sin_addr) ? 0 : -EINVAL;
	}
	if (inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1) {
		out->in6.sin6_family = AF_INET6;
		out->in6.sin6_port = htons(port);
		return is_host6(&out->in6.sin6_addr) ? 0 : -EINVAL;
	}
	return -EINVAL;
}

bool vxlan_addr_same(const union vxlan_addr *a, const union vxlan_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
}

static uint32_t hash(const union vxlan_addr *a)
{
	uint32_t h = 0;

	if (a->sa.sa_family == AF_INET)
		return rte_hash_crc_4byte(a->in.sin_addr.s_addr, 0);
	for (int i = 0; i < 4; i++)
		h = rte_hash_crc_4byte(a->in6.sin6_addr.s6_addr32[i], h);
	return h;
}

/* The place in the index that has addr, or the free one where it belongs. */
static uint16_t *place(const struct vxlan_remotes *r, const union vxlan_addr *addr)
{
	uint32_t mask = 2 * r->nb_slots - 1, i = hash(addr) & mask;

	while (r->index[i] != 0 && !vxlan_addr_same(&r->slots[r->index[i] - 1], addr))
		i = (i + 1) & mask;
	return &r->index[i];
}

int vxlan_remotes_find(const struct vxlan_remotes *r, const union vxlan_addr *addr)
{
	return *place(r, addr) - 1;
}

static struct vxlan_remotes *remotes_alloc(uint32_t nb_slots)
{
	size_t slots = sizeof(struct vxlan_remotes) + nb_slots * sizeof(union vxlan_addr);
	struct vxlan_remotes *r = calloc(1, slots + 2 * nb_slots * sizeof(*r->index));

	if (r != NULL) {
		r->nb_slots = nb_slots;
		r->index = (uint16_t *)&r->slots[nb_slots];
	}
	return r;
}

static void remotes_add(struct vxlan_remotes *r, uint32_t slot, const union vxlan_addr *addr)
{
	*place(r, addr) = slot + 1;
	r->slots[slot] = *addr;
	r->n++;
}

struct vxlan_remotes *vxlan_remotes_new(
	const union vxlan_addr *wanted, uint32_t n, const struct vxlan_remotes *old)
{
	const struct vxlan_remotes none = {.n = 0};
	struct vxlan_remotes *r;
	uint32_t nb_slots, free_slot = 0;

	if (old == NULL)
		old = &none;
	/* Room for both, or a new host had to take the slot of an old one. */
	nb_slots = RTE_MAX(rte_align32pow2(old->n + n), old->nb_slots);
	r = remotes_alloc(RTE_MAX(nb_slots, (uint32_t)SLOTS_MIN));
	for (uint32_t i = 0; r != NULL && i < n; i++) {
		int slot = old->nb_slots == 0 ? -1 : vxlan_remotes_find(old, &wanted[i]);

		if (vxlan_remotes_find(r, &wanted[i]) >= 0)
			continue;
		if (slot < 0) {
			while (vxlan_remotes_has(old, free_slot) ||
				vxlan_remotes_has(r, free_slot))
				free_slot++;
			slot = free_slot;
		}
		remotes_add(r, slot, &wanted[i]);
	}
	return r;
}
