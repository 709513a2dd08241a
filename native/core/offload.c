/* SPDX-License-Identifier: Apache-2.0
 *
 * See offload.h: reading what a guest's header wants, against the frame.
 */
#include "core/offload.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "core/bytes.h"

#define TAGS_MAX 2
#define EXTENSIONS_MAX 8

uint64_t vb_offload_flag;
int vb_offload_at;

int vb_offload_start(void)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "vb_offload",
		.size = sizeof(struct vb_offload),
		.align = __alignof__(struct vb_offload),
	};
	static const struct rte_mbuf_dynflag flag = {.name = "vb_offload"};
	int bit;

	vb_offload_at = rte_mbuf_dynfield_register(&field);
	bit = vb_offload_at >= 0 ? rte_mbuf_dynflag_register(&flag) : -1;
	if (bit < 0)
		return -rte_errno;
	vb_offload_flag = 1ULL << bit;
	return 0;
}

/* The headers of a frame; each offset is held against "seen" by the one who moves it. */
struct headers {
	const uint8_t *p;
	uint32_t seen; /* bytes at p */
	uint32_t ip;
	uint32_t l4;
	uint32_t end; /* of TCP's or UDP's */
	uint8_t version;
	uint8_t protocol;
};

static bool find_ip4(struct headers *h)
{
	const uint8_t *ip = h->p + h->ip;

	if (h->ip + sizeof(struct rte_ipv4_hdr) > h->seen)
		return false;
	h->l4 = h->ip + (ip[0] & RTE_IPV4_HDR_IHL_MASK) * RTE_IPV4_IHL_MULTIPLIER;
	h->protocol = ip[9];
	/* Of a fragment nobody could tell. */
	return ip[0] >> 4 == 4 && h->l4 >= h->ip + sizeof(struct rte_ipv4_hdr) &&
	       (vb_load16(ip + 6) & (RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) == 0;
}

static bool find_ip6(struct headers *h)
{
	h->l4 = h->ip + sizeof(struct rte_ipv6_hdr);
	if (h->l4 > h->seen || h->p[h->ip] >> 4 != 6)
		return false;
	h->protocol = h->p[h->ip + 6];
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (h->protocol != IPPROTO_HOPOPTS && h->protocol != IPPROTO_ROUTING &&
			h->protocol != IPPROTO_DSTOPTS)
			return true;
		if (h->l4 + 8 > h->seen)
			return false;
		h->protocol = h->p[h->l4];
		h->l4 += 8 + h->p[h->l4 + 1] * 8;
	}
	return false;
}

static bool find_l4(struct headers *h)
{
	if (h->protocol == IPPROTO_UDP) {
		h->end = h->l4 + sizeof(struct rte_udp_hdr);
		return h->end <= h->seen;
	}
	if (h->protocol != IPPROTO_TCP || h->l4 + sizeof(struct rte_tcp_hdr) > h->seen)
		return false;
	h->end = h->l4 + (h->p[h->l4 + 12] >> 4) * 4;
	return h->end >= h->l4 + sizeof(struct rte_tcp_hdr) && h->end <= h->seen;
}

/* False: it is not TCP or UDP over IP, or not all there. */
static bool find(struct headers *h, const struct rte_mbuf *m)
{
	uint16_t type;

	h->p = rte_pktmbuf_mtod(m, const uint8_t *);
	h->seen = RTE_MIN(m->data_len, VB_OFFLOAD_HEADERS_MAX);
	h->ip = RTE_ETHER_HDR_LEN;
	for (int tags = 0;; tags++) {
		if (h->ip > h->seen)
			return false;
		type = vb_load16(h->p + h->ip - 2);
		if ((type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ) ||
			tags == TAGS_MAX)
			break;
		h->ip += RTE_VLAN_HLEN;
	}
	h->version = type == RTE_ETHER_TYPE_IPV4 ? 4 : 6;
	if (type != RTE_ETHER_TYPE_IPV4 && type != RTE_ETHER_TYPE_IPV6)
		return false;
	return (h->version == 4 ? find_ip4(h) : find_ip6(h)) && find_l4(h);
}

/* What segmentation of that type takes; 0: there is no such type. */
static uint8_t tso_of(uint8_t gso_type)
{
	switch (gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return VB_OFFLOAD_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return VB_OFFLOAD_TSO6;
	default:
		return 0;
	}
}

static enum vb_drop check_gso(const struct rte_mbuf *m, const struct headers *h,
	const struct virtio_net_hdr *hdr, struct vb_offload *o)
{
	uint32_t payload = m->pkt_len - h->end;
	uint8_t tso = tso_of(hdr->gso_type);

	if (h->protocol != IPPROTO_TCP || h->version != (tso == VB_OFFLOAD_TSO4 ? 4 : 6))
		return VB_DROP_BAD_GSO;
	/* Drivers have it so; it is one segment and wants its checksum only. */
	if (payload <= hdr->gso_size)
		return VB_OFFLOAD_OK;
	if (payload > (uint32_t)hdr->gso_size * VB_OFFLOAD_SEGMENTS_MAX)
		return VB_DROP_BAD_GSO;
	/* Lengths of IP have 16 bits. */
	if (h->end - h->ip + hdr->gso_size > UINT16_MAX)
		return VB_DROP_BAD_GSO;
	o->gso_size = hdr->gso_size;
	o->headers = h->end;
	o->ip = h->ip;
	o->needs |= tso;
	return VB_OFFLOAD_OK;
}

enum vb_drop vb_offload_check(struct rte_mbuf *m, const struct virtio_net_hdr *hdr, uint8_t agreed)
{
	bool gso = hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	struct vb_offload o = {
		.csum_start = hdr->csum_start,
		.csum_offset = hdr->csum_offset,
		.needs = VB_OFFLOAD_CSUM,
	};
	enum vb_drop why = VB_OFFLOAD_OK;
	struct headers h = {0};

	if (gso && (tso_of(hdr->gso_type) & agreed) == 0)
		return VB_DROP_BAD_GSO;
	/* Every segment needs a checksum of its own. */
	if (gso && (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0)
		return VB_DROP_BAD_GSO;
	if ((agreed & VB_OFFLOAD_CSUM) == 0)
		return VB_DROP_BAD_CSUM;
	if (!find(&h, m))
		return gso ? VB_DROP_BAD_GSO : VB_DROP_BAD_CSUM;
	if (hdr->csum_start != h.l4 ||
		hdr->csum_offset != (h.protocol == IPPROTO_TCP
						    ? offsetof(struct rte_tcp_hdr, cksum)
						    : offsetof(struct rte_udp_hdr, dgram_cksum)))
		return VB_DROP_BAD_CSUM;
	if (gso)
		why = check_gso(m, &h, hdr, &o);
	if (why == VB_OFFLOAD_OK) {
		*vb_offload(m) = o;
		m->ol_flags |= vb_offload_flag;
	}
	return why;
}
