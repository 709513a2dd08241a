/* SPDX-License-Identifier: Apache-2.0
 *
 * What a port lets through, as workers read it: made once, never changed.
 *
 * A guest may send from a MAC that one of its pairs names, and claim an address that
 * a pair with that MAC covers.  Pairs are searched in order: most guests have one or two,
 * and the first is nearly always the one.
 */
#ifndef VB_ANTISPOOF_RULES_H
#define VB_ANTISPOOF_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vhost_brick.h"

enum antispoof_family { ANTISPOOF_IP4 = 1, ANTISPOOF_IP6 = 2 };

struct antispoof_pair {
	uint64_t mac;	   /* vb_mac_load() */
	uint64_t addr[2];  /* as in a packet, IPv4 in the first four bytes; masked */
	uint64_t mask[2];  /* the bits that count */
	uint32_t families; /* enum antispoof_family, or-ed */
};

struct antispoof_rules {
	uint32_t mode; /* enum vb_security_mode */
	uint32_t nb_pairs;
	struct antispoof_pair pairs[];
};

/* Make rules; free() frees them.  -EINVAL: out of range.  -ENOMEM. */
int antispoof_rules_new(const struct vb_security *security, struct antispoof_rules **out);

/* Whether a pair names this MAC. */
static inline bool antispoof_has_mac(const struct antispoof_rules *rules, uint64_t mac)
{
	for (uint32_t i = 0; i < rules->nb_pairs; i++)
		if (rules->pairs[i].mac == mac)
			return true;
	return false;
}

/* Whether a pair with this MAC covers the address at addr: 4 or 16 bytes of a packet. */
static inline bool antispoof_allows(const struct antispoof_rules *rules, uint64_t mac,
	enum antispoof_family family, const uint8_t *addr)
{
	uint64_t a[2] = {0, 0};

	memcpy(a, addr, family == ANTISPOOF_IP4 ? 4 : 16);
	for (uint32_t i = 0; i < rules->nb_pairs; i++) {
		const struct antispoof_pair *p = &rules->pairs[i];

		if (p->mac == mac && (p->families & family) != 0 &&
			(a[0] & p->mask[0]) == p->addr[0] && (a[1] & p->mask[1]) == p->addr[1])
			return true;
	}
	return false;
}

#endif
