/* SPDX-License-Identifier: Apache-2.0
 *
 * ARP (RFC 826, 5227) and neighbour discovery (RFC 4861), read and written byte by
 * byte, and RARP (RFC 903), written: frames come from guests, at any alignment and any length.
 * Only the first segment is looked at.
 */
#include "bricks/neigh_packet.h"

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <string.h>

#include "core/bytes.h"

#define ETH 14
#define IP6 40
#define ARP_LEN 28
#define NA_LEN 32 /* with one link-layer address option */
#define MIN_FRAME 60

enum { ND_SOLICITATION = 135, ND_ADVERTISEMENT = 136 };
enum { OPT_SOURCE_LLADDR = 1, OPT_TARGET_LLADDR = 2 };

static const uint8_t zero[16];

static bool take(struct vb_neigh *n, uint8_t family, const uint8_t *frame, const uint8_t *mac,
	const uint8_t *ip)
{
	size_t len = family == 4 ? 4 : 16;

	if (memcmp(mac, frame + 6, 6) != 0 || memcmp(ip, zero, len) == 0)
		return false;
	n->family = family;
	memcpy(n->mac, mac, 6);
	memcpy(n->ip, ip, len);
	return true;
}

static bool parse_arp(const uint8_t *frame, uint32_t len, struct vb_neigh *n)
{
	/* Ethernet, IPv4, address lengths 6 and 4; request or reply. */
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
	const uint8_t *arp = frame + ETH;

	if (len < ETH + ARP_LEN || memcmp(arp, head, sizeof(head)) != 0)
		return false;
	if (arp[7] != 1 && arp[7] != 2)
		return false;
	return take(n, 4, frame, arp + 8, arp + 14);
}

/* The MAC in the option of this type, or NULL. */
static const uint8_t *find_option(const uint8_t *p, const uint8_t *end, uint8_t type)
{
	while (end - p >= 8 && p[1] != 0 && end - p >= p[1] * 8) {
		if (p[0] == type)
			return p + 2;
		p += p[1] * 8;
	}
	return NULL;
}

static bool parse_nd(const uint8_t *frame, uint32_t len, struct vb_neigh *n)
{
	const uint8_t *ip = frame + ETH, *icmp = ip + IP6, *mac, *addr;
	uint32_t payload;
	uint8_t option;

	if (len < ETH + IP6 + 24 || ip[6] != 58)
		return false;
	payload = vb_load16(ip + 4);
	/* RFC 4861 section 7.1: the hop limit proves that no router passed it on. */
	if (payload < 24 || payload > len - ETH - IP6 || ip[7] != 255 || icmp[1] != 0)
		return false;
	if (icmp[0] == ND_ADVERTISEMENT) {
		option = OPT_TARGET_LLADDR;
		addr = icmp + 8;
	} else if (icmp[0] == ND_SOLICITATION) {
		option = OPT_SOURCE_LLADDR;
		addr = ip + 8;
	} else {
		return false;
	}
	mac = find_option(icmp + 24, icmp + payload, option);
	return mac != NULL && take(n, 6, frame, mac, addr);
}

bool vb_neigh_parse(const struct rte_mbuf *m, struct vb_neigh *n)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->data_len < ETH)
		return false;
	if (frame[12] == 0x08 && frame[13] == 0x06)
		return parse_arp(frame, m->data_len, n);
	if (frame[12] == 0x86 && frame[13] == 0xdd)
		return parse_nd(frame, m->data_len, n);
	return false;
}

/* The frame of a MAC that asks for its own address: it says nothing but where the MAC is. */
static uint16_t rarp_frame(const struct vb_neigh *n, uint8_t *buf)
{
	static const uint8_t head[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};

	memset(buf, 0, MIN_FRAME);
	memset(buf, 0xff, 6);
	memcpy(buf + 6, n->mac, 6);
	memcpy(buf + 12, head, sizeof(head));
	memcpy(buf + 22, n->mac, 6);
	memcpy(buf + 32, n->mac, 6);
	return MIN_FRAME;
}

static uint16_t arp_frame(const struct vb_neigh *n, uint8_t *buf)
{
	static const uint8_t head[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};

	memset(buf, 0xff, 6);
	memcpy(buf + 6, n->mac, 6);
	memcpy(buf + 12, head, sizeof(head));
	memcpy(buf + 22, n->mac, 6);
	memcpy(buf + 28, n->ip, 4);
	memset(buf + 32, 0, 6);
	memcpy(buf + 38, n->ip, 4);
	memset(buf + ETH + ARP_LEN, 0, MIN_FRAME - ETH - ARP_LEN);
	return MIN_FRAME;
}

/* An advertisement to all nodes (ff02::1), override flag set. */
static uint16_t na_frame(const struct vb_neigh *n, uint8_t *buf)
{
	static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
	static const uint8_t group_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
	uint8_t *ip = buf + ETH, *icmp = ip + IP6;
	struct rte_ipv6_hdr header = {0};
	uint16_t sum;

	memset(buf, 0, VB_NEIGH_FRAME);
	memcpy(buf, group_mac, 6);
	memcpy(buf + 6, n->mac, 6);
	buf[12] = 0x86;
	buf[13] = 0xdd;
	ip[0] = 0x60;
	ip[5] = NA_LEN;
	ip[6] = 58;
	ip[7] = 255;
	memcpy(ip + 8, n->ip, 16);
	memcpy(ip + 24, all_nodes, 16);
	icmp[0] = ND_ADVERTISEMENT;
	icmp[4] = 0x20;
	memcpy(icmp + 8, n->ip, 16);
	icmp[24] = OPT_TARGET_LLADDR;
	icmp[25] = 1;
	memcpy(icmp + 26, n->mac, 6);
	memcpy(&header, ip, sizeof(header));
	sum = rte_ipv6_udptcp_cksum(&header, icmp);
	memcpy(icmp + 2, &sum, 2);
	return ETH + IP6 + NA_LEN;
}

uint16_t vb_neigh_frame(const struct vb_neigh *n, uint8_t *buf)
{
	if (n->family == 0)
		return rarp_frame(n, buf);
	return n->family == 4 ? arp_frame(n, buf) : na_frame(n, buf);
}
