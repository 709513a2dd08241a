/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest's frame against its port's rules.
 *
 * Whoever receives the frame believes what it claims: that the Ethernet source is at
 * this port, that an IP address is at a MAC (ARP, neighbour discovery), that a router
 * or a DHCP server is here.  Each claim is looked for where receivers would find it, and
 * a frame in which that cannot be told is dropped: a header that is cut short, a VLAN
 * tag (receivers take VLAN 0 for none) or 802.2 SNAP before the packet (CVE-2021-27853
 * and its kin), discovery behind extension headers or in fragments (RFC 6980), a header
 * chain longer than anybody needs (RFC 7112 lets a firewall drop what it cannot see).
 *
 * Frames are read byte by byte, at any alignment.  Every offset is held against the
 * bytes that are there, by the one who moves it.
 */
#include "bricks/antispoof_packet.h"

#include "bricks/mac_table.h"
#include "core/bytes.h"
#include "core/loan.h"

#define ETH 14
#define IP4 20
#define IP6 40
#define ARP 28
#define UDP 8

#define IP4_MORE_FRAGMENTS 0x2000
#define IP4_OFFSET 0x1fff

/* All that is looked at: longer chains of headers than fit are dropped. */
#define HEADERS_MAX VB_HEAD
#define EXTENSIONS_MAX 8

#define PASS ANTISPOOF_PASS
#define DROP(why) VB_DROP_##why

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };
enum { DHCP_SERVER = 67, DHCP_CLIENT = 68, DHCP6_CLIENT = 546, DHCP6_SERVER = 547 };
enum { OPT_SOURCE_LLADDR = 1, OPT_TARGET_LLADDR = 2 };

/* "Next header", and IPv4's "protocol". */
enum {
	HOP_BY_HOP = 0,
	PROTO_UDP = 17,
	ROUTING = 43,
	FRAGMENT = 44,
	AUTHENTICATION = 51,
	PROTO_ICMP6 = 58,
	NOTHING = 59,
	DESTINATION = 60,
	MOBILITY = 135,
	HIP = 139,
	SHIM6 = 140,
};

/* ICMPv6. */
enum {
	MLD_REPORT = 131,
	MLD_DONE = 132,
	ND_ROUTER_SOLICITATION = 133,
	ND_ROUTER_ADVERTISEMENT = 134,
	ND_SOLICITATION = 135,
	ND_ADVERTISEMENT = 136,
	ND_REDIRECT = 137,
	MLD2_REPORT = 143,
};

struct frame {
	const uint8_t *p;
	uint32_t seen; /* bytes at p */
	uint32_t size; /* of the whole frame */
	uint64_t mac;  /* its source */
};

/* What an IPv6 packet carries, behind its extension headers. */
struct upper {
	uint8_t protocol;
	bool direct;  /* there are none */
	uint32_t at;  /* its offset in the frame; has() says whether it is there */
	uint32_t end; /* of the packet, without the frame's padding */
};

static bool all_zero(const uint8_t *p, uint32_t len)
{
	uint8_t any = 0;

	for (uint32_t i = 0; i < len; i++)
		any |= p[i];
	return any == 0;
}

/* ---- ARP (RFC 826, 5227) ---- */

static enum vb_drop check_arp(const struct antispoof_rules *rules, const struct frame *f)
{
	/* Ethernet, IPv4, address lengths 6 and 4, the operation's first byte. */
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
	const uint8_t *arp = f->p + ETH, *claimed;

	if (f->seen < ETH + ARP || memcmp(arp, head, sizeof(head)) != 0)
		return DROP(BAD_HEADER);
	if (arp[7] != ARP_REQUEST && arp[7] != ARP_REPLY)
		return DROP(BAD_HEADER);
	if (vb_mac_load(arp + 8) != f->mac)
		return DROP(SPOOFED_ARP);
	/* A probe claims its target: another host that probes for it, too, gives it up. */
	claimed = arp[7] == ARP_REQUEST && all_zero(arp + 14, 4) ? arp + 24 : arp + 14;
	return antispoof_allows(rules, f->mac, ANTISPOOF_IP4, claimed) ? PASS : DROP(SPOOFED_ARP);
}

/* ---- IPv4 ---- */

/* Receivers go by the port that it is sent to; firewalls by tradition by the other. */
static bool from_dhcp_server(const uint8_t *udp, uint16_t server, uint16_t client)
{
	return vb_load16(udp) == server || vb_load16(udp + 2) == client;
}

static enum vb_drop check_ip4(const struct antispoof_rules *rules, const struct frame *f)
{
	const uint8_t *ip = f->p + ETH, *udp;
	bool no_address_yet = false;
	uint32_t header, total, fragment;

	if (f->seen < ETH + IP4)
		return DROP(BAD_HEADER);
	header = (ip[0] & 0x0f) * 4;
	total = vb_load16(ip + 2);
	if (ip[0] >> 4 != 4 || header < IP4 || total < header || total > f->size - ETH)
		return DROP(BAD_HEADER);
	/* Later fragments, with an offset above 0, have no UDP header. */
	fragment = vb_load16(ip + 6) & (IP4_MORE_FRAGMENTS | IP4_OFFSET);
	if (ip[9] == PROTO_UDP && (fragment & IP4_OFFSET) == 0) {
		if (total < header + UDP)
			return DROP(BAD_HEADER);
		udp = ip + header;
		if (from_dhcp_server(udp, DHCP_SERVER, DHCP_CLIENT))
			return DROP(ROGUE_DHCP);
		no_address_yet = vb_load16(udp) == DHCP_CLIENT &&
				 vb_load16(udp + 2) == DHCP_SERVER && all_zero(ip + 12, 4) &&
				 fragment == 0;
	}
	if (no_address_yet || antispoof_allows(rules, f->mac, ANTISPOOF_IP4, ip + 12))
		return PASS;
	return DROP(SPOOFED_IP);
}

/* ---- IPv6 ---- */

/* Whether len bytes from where we are belong to the packet and can be seen. */
static bool has(const struct frame *f, const struct upper *u, uint32_t len)
{
	return u->at + len <= RTE_MIN(u->end, f->seen);
}

/* The unit of an extension header's length field; 0: the protocol is no such header. */
static uint32_t extension_unit(uint8_t protocol)
{
	switch (protocol) {
	case HOP_BY_HOP:
	case ROUTING:
	case FRAGMENT:
	case DESTINATION:
	case MOBILITY:
	case HIP:
	case SHIM6:
		return 8;
	case AUTHENTICATION:
		return 4;
	default:
		return 0;
	}
}

/* Walk from the header after IPv6's to the upper layer's; false: it cannot be seen. */
static bool find_upper(const struct frame *f, struct upper *u)
{
	for (uint32_t i = 0; i <= EXTENSIONS_MAX; i++) {
		uint32_t unit = extension_unit(u->protocol);
		const uint8_t *h;

		if (unit == 0)
			return true;
		if (!has(f, u, 8))
			return false;
		h = f->p + u->at;
		u->direct = false;
		if (u->protocol != FRAGMENT) {
			u->at += 8 + h[1] * unit;
		} else if ((vb_load16(h + 2) & 0xfff8) == 0) {
			u->at += 8;
		} else {
			/* A later fragment: its upper layer was in the first. */
			u->protocol = NOTHING;
			return true;
		}
		u->protocol = h[0];
	}
	return false;
}

/* Options from at to the message's end: a link-layer address must go with what the
 * message claims.
 */
static enum vb_drop check_nd_options(const struct antispoof_rules *rules, const struct frame *f,
	const struct upper *u, uint32_t at, const uint8_t *claimed)
{
	while (at < u->end) {
		const uint8_t *option = f->p + at;
		uint32_t size;
		uint64_t mac;

		if (u->end - at < 8)
			return DROP(BAD_HEADER);
		size = option[1] * 8;
		if (size == 0 || size > u->end - at)
			return DROP(BAD_HEADER);
		mac = vb_mac_load(option + 2);
		if ((option[0] == OPT_SOURCE_LLADDR || option[0] == OPT_TARGET_LLADDR) &&
			!antispoof_allows(rules, mac, ANTISPOOF_IP6, claimed))
			return DROP(SPOOFED_ND);
		at += size;
	}
	return PASS;
}

/* Neighbour discovery (RFC 4861, 4862) from a source that is allowed. */
static enum vb_drop check_nd(
	const struct antispoof_rules *rules, const struct frame *f, const struct upper *u)
{
	const uint8_t *msg = f->p + u->at, *source = f->p + ETH + 8, *claimed = source;
	uint32_t fixed = msg[0] == ND_ROUTER_SOLICITATION ? 8 : 24;

	if (!u->direct)
		return DROP(SPOOFED_ND);
	if (u->end > f->seen || !has(f, u, fixed))
		return DROP(BAD_HEADER);
	/* An advertisement claims its target.  So does a probe for duplicates, which has no
	 * source: another host that probes for it, too, gives it up.
	 */
	if (msg[0] == ND_ADVERTISEMENT || (msg[0] == ND_SOLICITATION && all_zero(source, 16))) {
		claimed = msg + 8;
		if (!antispoof_allows(rules, f->mac, ANTISPOOF_IP6, claimed))
			return DROP(SPOOFED_ND);
	}
	return check_nd_options(rules, f, u, u->at + fixed, claimed);
}

/* Whether a host that has no address yet sends it: RFC 4861 section 4.1, RFC 4862 section
 * 5.4.2, RFC 3590 and RFC 3810 section 5.2.13.
 */
static bool goes_without_source(uint8_t type)
{
	return type == ND_ROUTER_SOLICITATION || type == ND_SOLICITATION || type == MLD_REPORT ||
	       type == MLD_DONE || type == MLD2_REPORT;
}

static enum vb_drop check_icmp6(
	const struct antispoof_rules *rules, const struct frame *f, const struct upper *u)
{
	const uint8_t *source = f->p + ETH + 8;
	uint8_t type;

	if (!has(f, u, 8))
		return DROP(BAD_HEADER);
	type = f->p[u->at];
	if (type == ND_ROUTER_ADVERTISEMENT || type == ND_REDIRECT)
		return DROP(ROGUE_RA);
	if (!antispoof_allows(rules, f->mac, ANTISPOOF_IP6, source) &&
		!(goes_without_source(type) && all_zero(source, 16)))
		return DROP(SPOOFED_IP);
	if (type == ND_ROUTER_SOLICITATION || type == ND_SOLICITATION || type == ND_ADVERTISEMENT)
		return check_nd(rules, f, u);
	return PASS;
}

static enum vb_drop check_ip6(const struct antispoof_rules *rules, const struct frame *f)
{
	const uint8_t *ip = f->p + ETH;
	struct upper u = {.at = ETH + IP6, .direct = true};

	if (f->seen < ETH + IP6 || ip[0] >> 4 != 6)
		return DROP(BAD_HEADER);
	u.protocol = ip[6];
	u.end = ETH + IP6 + vb_load16(ip + 4);
	if (u.end > f->size || !find_upper(f, &u))
		return DROP(BAD_HEADER);
	if (u.protocol == PROTO_ICMP6)
		return check_icmp6(rules, f, &u);
	if (u.protocol == PROTO_UDP) {
		if (!has(f, &u, UDP))
			return DROP(BAD_HEADER);
		if (from_dhcp_server(f->p + u.at, DHCP6_SERVER, DHCP6_CLIENT))
			return DROP(ROGUE_DHCP);
	}
	return antispoof_allows(rules, f->mac, ANTISPOOF_IP6, ip + 8) ? PASS : DROP(SPOOFED_IP);
}

/* ---- Ethernet ---- */

/* A frame of any other type; below 0x600 it is a length, and 802.2 follows. */
static enum vb_drop check_other(const struct frame *f, uint16_t type)
{
	bool snap = type < 0x600 && f->seen > ETH && f->p[ETH] == 0xaa;

	return snap ? DROP(BAD_HEADER) : PASS;
}

enum vb_drop antispoof_check(const struct antispoof_rules *rules, const struct rte_mbuf *m)
{
	struct frame f = {.size = m->pkt_len, .seen = RTE_MIN(m->pkt_len, HEADERS_MAX)};
	uint8_t copy[HEADERS_MAX];
	uint16_t type;

	if (f.size < ETH)
		return DROP(TOO_SHORT);
	/* In place, unless the headers are spread over segments. */
	f.p = rte_pktmbuf_read(m, 0, f.seen, copy);
	f.mac = vb_mac_load(f.p + 6);
	if (!antispoof_has_mac(rules, f.mac))
		return DROP(SPOOFED_MAC);
	type = vb_load16(f.p + 12);
	switch (type) {
	case 0x0800:
		return check_ip4(rules, &f);
	case 0x86dd:
		return check_ip6(rules, &f);
	case 0x0806:
		return check_arp(rules, &f);
	case 0x8100: /* IEEE 802.1Q */
	case 0x88a8: /* IEEE 802.1ad */
	case 0x9100: /* what was used before it */
		return DROP(TAGGED);
	default:
		return check_other(&f, type);
	}
}
