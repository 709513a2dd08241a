/* SPDX-License-Identifier: Apache-2.0
 *
 * A number for the flow that a frame belongs to, to spread flows over a guest's
 * queues while each stays in order.  Addresses and, where they are at hand, ports.
 */
#ifndef VB_FLOW_H
#define VB_FLOW_H

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <string.h>

static inline bool vb_flow_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Headers lie at odd addresses behind an Ethernet header: load, do not dereference. */
static inline uint32_t vb_flow_mix(const uint8_t *p, uint32_t words, uint32_t hash)
{
	for (uint32_t i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, p + i * 4, 4);
		hash = rte_hash_crc_4byte(word, hash);
	}
	return hash;
}

/* p has len bytes behind the Ethernet header. */
static inline uint32_t vb_flow_hash_ip4(const uint8_t *p, uint32_t len)
{
	const struct rte_ipv4_hdr *ip = (const void *)p;
	uint32_t hash, header;
	uint16_t fragment;

	if (len < sizeof(*ip))
		return 0;
	hash = vb_flow_mix(p + offsetof(struct rte_ipv4_hdr, src_addr), 2, ip->next_proto_id);
	header = (ip->version_ihl & 0xf) * 4;
	memcpy(&fragment, p + offsetof(struct rte_ipv4_hdr, fragment_offset), 2);
	/* Fragments but the first have no ports: then none of them is hashed by them. */
	if ((fragment & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) == 0 &&
		vb_flow_has_ports(ip->next_proto_id) && len >= header + 4)
		hash = vb_flow_mix(p + header, 1, hash);
	return hash;
}

static inline uint32_t vb_flow_hash_ip6(const uint8_t *p, uint32_t len)
{
	const struct rte_ipv6_hdr *ip = (const void *)p;
	uint32_t hash;

	if (len < sizeof(*ip))
		return 0;
	hash = vb_flow_mix(p + offsetof(struct rte_ipv6_hdr, src_addr), 8, ip->proto);
	if (vb_flow_has_ports(ip->proto) && len >= sizeof(*ip) + 4)
		hash = vb_flow_mix(p + sizeof(*ip), 1, hash);
	return hash;
}

/* Any frame, however short; only its first segment is looked at. */
static inline uint32_t vb_flow_hash(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t at = RTE_ETHER_HDR_LEN, len = m->data_len;
	uint16_t type;

	if (len < RTE_ETHER_HDR_LEN)
		return 0;
	memcpy(&type, p + 12, 2);
	if (type == RTE_BE16(RTE_ETHER_TYPE_VLAN) && len >= RTE_ETHER_HDR_LEN + 4) {
		memcpy(&type, p + 16, 2);
		at += 4;
	}
	if (type == RTE_BE16(RTE_ETHER_TYPE_IPV4))
		return vb_flow_hash_ip4(p + at, len - at);
	if (type == RTE_BE16(RTE_ETHER_TYPE_IPV6))
		return vb_flow_hash_ip6(p + at, len - at);
	return vb_flow_mix(p, 2 * RTE_ETHER_ADDR_LEN / 4, type);
}

#endif
