/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see antispoof_rules.h.  The link-local addresses that hosts
 * form from their MACs are pairs like any other, after those of the caller.
 */
#include "bricks/antispoof_rules.h"

#include <errno.h>
#include <stdlib.h>

#include "bricks/mac_table.h"

static int pair_set(struct antispoof_pair *p, const struct vb_address_pair *from)
{
	uint8_t mask[16] = {0};
	uint32_t bits = from->family == 4 ? 32 : from->family == 6 ? 128 : 0;

	p->mac = vb_mac_load(from->mac);
	if ((from->mac[0] & 1) != 0 || p->mac == 0 || from->prefix_len > bits)
		return -EINVAL;
	switch (from->family) {
	case 0:
		p->families = ANTISPOOF_IP4 | ANTISPOOF_IP6;
		break;
	case 4:
		p->families = ANTISPOOF_IP4;
		break;
	case 6:
		p->families = ANTISPOOF_IP6;
		break;
	default:
		return -EINVAL;
	}
	for (uint32_t i = 0; i < from->prefix_len; i++)
		mask[i / 8] |= 0x80 >> i % 8;
	memcpy(p->mask, mask, sizeof(mask));
	memcpy(p->addr, from->address, sizeof(p->addr));
	p->addr[0] &= p->mask[0];
	p->addr[1] &= p->mask[1];
	return 0;
}

/* RFC 4291 appendix A: the MAC with ff:fe in its middle and its "universal" bit turned. */
static struct vb_address_pair link_local(const uint8_t *mac)
{
	struct vb_address_pair pair = {
		.family = 6,
		.prefix_len = 128,
		.address = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe,
			mac[3], mac[4], mac[5]},
	};

	memcpy(pair.mac, mac, sizeof(pair.mac));
	return pair;
}

static int fill(struct antispoof_rules *rules, const struct vb_security *security)
{
	for (uint32_t i = 0; i < security->nb_pairs; i++) {
		int ret = pair_set(&rules->pairs[rules->nb_pairs++], &security->pairs[i]);

		if (ret != 0)
			return ret;
	}
	for (uint32_t i = 0; i < security->nb_pairs; i++) {
		const struct vb_address_pair own = link_local(security->pairs[i].mac);

		if (!antispoof_allows(rules, vb_mac_load(own.mac), ANTISPOOF_IP6, own.address))
			pair_set(&rules->pairs[rules->nb_pairs++], &own);
	}
	return 0;
}

int antispoof_rules_new(const struct vb_security *security, struct antispoof_rules **out)
{
	struct antispoof_rules *rules;
	int ret = 0;

	if (security->mode > VB_SECURITY_CLOSED || security->nb_pairs > VB_PAIRS_MAX)
		return -EINVAL;
	rules = calloc(1, sizeof(*rules) + 2 * security->nb_pairs * sizeof(rules->pairs[0]));
	if (rules == NULL)
		return -ENOMEM;
	rules->mode = security->mode;
	if (security->mode == VB_SECURITY_FILTERED)
		ret = fill(rules, security);
	if (ret != 0) {
		free(rules);
		return ret;
	}
	*out = rules;
	return 0;
}
