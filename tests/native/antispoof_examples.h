/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest, frames that it sends, and what becomes of each.
 */
#ifndef ANTISPOOF_EXAMPLES_H
#define ANTISPOOF_EXAMPLES_H

#include "bricks/antispoof_packet.h"

#define PASS ANTISPOOF_PASS
#define DROP(why) VB_DROP_##why

/* ---- the guest: three MACs, of which the third may claim any address ---- */

#define M1 "020000000001"
#define M2 "020000000002"
#define M3 "020000000003"
#define MX "0200000000ff" /* somebody else's */

#define OWN "c0000207"	  /* 192.0.2.7, M1's */
#define SECOND "c0000208" /* 192.0.2.8, M2's */
#define INSIDE "c6336409" /* 198.51.100.9, in M1's prefix */
#define OTHER "c0000263"  /* 192.0.2.99 */
#define NONE "00000000"

#define OWN6 "20010db8000000000000000000000007" /* 2001:db8::7, M1's */
#define OTHER6 "20010db8000000000000000000000063"
#define LL1 "fe80000000000000000000fffe000001" /* of M1, by RFC 4291 appendix A */
#define LL2 "fe80000000000000000000fffe000002"
#define NONE6 "00000000000000000000000000000000"
#define NODES "ff020000000000000000000000000001"

static const struct vb_address_pair pairs[] = {
	{{2, 0, 0, 0, 0, 1}, 4, 32, {192, 0, 2, 7}},
	{{2, 0, 0, 0, 0, 1}, 4, 24, {198, 51, 100, 77}},
	{{2, 0, 0, 0, 0, 1}, 6, 128, {0x20, 0x01, 0x0d, 0xb8, [15] = 7}},
	{{2, 0, 0, 0, 0, 2}, 4, 32, {192, 0, 2, 8}},
	{{2, 0, 0, 0, 0, 3}, 0, 0, {0}},
};

/* ---- frames, in hexadecimal ---- */

#define ETH(source, type) "ffffffffffff" source type
#define IP4(len, fragment, protocol, source)                                                      \
	"4500" len "0001" fragment "40" protocol "0000" source OTHER
#define ARP(op, mac, source, target) "000108000604" op mac source "000000000000" target
#define IP6(len, next, source) "60000000" len next "ff" source NODES
#define UDP(source, target) source target "00080000"
#define TCP "04d2005000000000000000005002000000000000"
#define ICMP6(type) type "00000000000000"
#define ND(type, target) ICMP6(type) target
#define SOURCE_MAC(mac) "0101" mac
#define TARGET_MAC(mac) "0201" mac
#define NONCE "0e01123456789abc"
#define EXT(next) next "00010400000000" /* padding options */
#define ROUTER_ALERT(next) next "00050200000100"
#define FRAGMENT(next, offset) next "00" offset "00000001"
#define AH(next) next "020000000000010000000100000000"

struct example {
	const char *what;
	enum vb_drop expected;
	const char *frame;
};

static const struct example ethernet[] = {
	{"no address of ours", DROP(SPOOFED_MAC), ETH(MX, "0800") IP4("0014", "0000", "06", OWN)},
	{"a group address", DROP(SPOOFED_MAC), ETH("030000000001", "88b5") "00"},
	{"an unknown type", PASS, ETH(M1, "88b5") "0102"},
	{"an unknown type, from elsewhere", DROP(SPOOFED_MAC), ETH(MX, "88b5") "0102"},
	{"802.2", PASS, ETH(M1, "0003") "424203"},
	{"802.2 SNAP", DROP(BAD_HEADER), ETH(M1, "0024") "aaaa030000000806"},
	{"802.2 SNAP of no length", DROP(BAD_HEADER), ETH(M1, "05ff") "aaaa0300000086dd"},
	{"802.1Q", DROP(TAGGED), ETH(M1, "8100") "00050800"},
	{"a priority tag", DROP(TAGGED), ETH(M1, "8100") "000086dd"},
	{"802.1ad", DROP(TAGGED), ETH(M1, "88a8") "00058100"},
	{"what was before 802.1ad", DROP(TAGGED), ETH(M1, "9100") "00058100"},
};

static const struct example ip[] = {
	/* ARP */
	{"request", PASS, ETH(M1, "0806") ARP("0001", M1, OWN, OTHER)},
	{"reply", PASS, ETH(M1, "0806") ARP("0002", M1, INSIDE, OTHER)},
	{"reply for any address", PASS, ETH(M3, "0806") ARP("0002", M3, OTHER, OTHER)},
	{"probe", PASS, ETH(M1, "0806") ARP("0001", M1, NONE, OWN)},
	{"probe for another's", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0001", M1, NONE, OTHER)},
	{"reply without address", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0002", M1, NONE, OWN)},
	{"another's address", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0002", M1, OTHER, OWN)},
	{"other MAC's address", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0002", M1, SECOND, OWN)},
	{"another's MAC", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0002", MX, OWN, OWN)},
	{"our other MAC", DROP(SPOOFED_ARP), ETH(M1, "0806") ARP("0002", M2, SECOND, OWN)},
	{"no operation", DROP(BAD_HEADER), ETH(M1, "0806") ARP("0000", M1, OWN, OWN)},
	{"RARP's operation", DROP(BAD_HEADER), ETH(M1, "0806") ARP("0003", M1, OWN, OWN)},
	{"a high operation", DROP(BAD_HEADER), ETH(M1, "0806") ARP("0102", M1, OWN, OWN)},
	{"no Ethernet", DROP(BAD_HEADER), ETH(M1, "0806") "0006080006040001" M1 OWN M1 OWN},
	{"a long address", DROP(BAD_HEADER), ETH(M1, "0806") "0001080006100001" M1 OWN6 M1 OWN6},

	/* IPv4 */
	{"own", PASS, ETH(M1, "0800") IP4("0028", "0000", "06", OWN) TCP},
	{"in a prefix", PASS, ETH(M1, "0800") IP4("0014", "0000", "ff", INSIDE)},
	{"second MAC's own", PASS, ETH(M2, "0800") IP4("0014", "0000", "ff", SECOND)},
	{"any address", PASS, ETH(M3, "0800") IP4("0014", "0000", "ff", OTHER)},
	{"another's", DROP(SPOOFED_IP), ETH(M1, "0800") IP4("0028", "0000", "06", OTHER) TCP},
	{"other MAC's", DROP(SPOOFED_IP), ETH(M1, "0800") IP4("0014", "0000", "ff", SECOND)},
	{"none", DROP(SPOOFED_IP), ETH(M1, "0800") IP4("0028", "0000", "06", NONE) TCP},
	{"options", PASS,
		ETH(M1, "0800") "460000200001000040110000" OWN OTHER
				"94040000" UDP("04d2", "0035")},
	{"version", DROP(BAD_HEADER), ETH(M1, "0800") "650000140001000040ff0000" OWN OTHER},
	{"header below its least", DROP(BAD_HEADER),
		ETH(M1, "0800") "440000140001000040ff0000" OWN OTHER},
	{"length below the header", DROP(BAD_HEADER),
		ETH(M1, "0800") IP4("0013", "0000", "ff", OWN)},
	{"length beyond the frame", DROP(BAD_HEADER),
		ETH(M1, "0800") IP4("0015", "0000", "ff", OWN)},

	/* DHCP, and the UDP around it */
	{"UDP", PASS, ETH(M1, "0800") IP4("001c", "0000", "11", OWN) UDP("04d2", "0035")},
	{"a short UDP header", DROP(BAD_HEADER),
		ETH(M1, "0800") IP4("0018", "0000", "11", OWN) "04d20035"},
	{"discover", PASS, ETH(M1, "0800") IP4("001c", "0000", "11", NONE) UDP("0044", "0043")},
	{"renewal", PASS, ETH(M1, "0800") IP4("001c", "0000", "11", OWN) UDP("0044", "0043")},
	{"another's renewal", DROP(SPOOFED_IP),
		ETH(M1, "0800") IP4("001c", "0000", "11", OTHER) UDP("0044", "0043")},
	{"discover in fragments", DROP(SPOOFED_IP),
		ETH(M1, "0800") IP4("001c", "2000", "11", NONE) UDP("0044", "0043")},
	{"a later fragment of none", DROP(SPOOFED_IP),
		ETH(M1, "0800") IP4("001c", "0001", "11", NONE) UDP("0044", "0043")},
	{"UDP of none", DROP(SPOOFED_IP),
		ETH(M1, "0800") IP4("001c", "0000", "11", NONE) UDP("0044", "0045")},
	{"offer", DROP(ROGUE_DHCP),
		ETH(M1, "0800") IP4("001c", "0000", "11", OWN) UDP("0043", "0044")},
	{"offer from an odd port", DROP(ROGUE_DHCP),
		ETH(M3, "0800") IP4("001c", "0000", "11", OTHER) UDP("04d2", "0044")},
	{"offer to an odd port", DROP(ROGUE_DHCP),
		ETH(M1, "0800") IP4("001c", "0000", "11", OWN) UDP("0043", "04d2")},
	{"offer in a first fragment", DROP(ROGUE_DHCP),
		ETH(M1, "0800") IP4("001c", "2000", "11", OWN) UDP("0043", "0044")},
	{"what looks like one in a later fragment", PASS,
		ETH(M1, "0800") IP4("001c", "2001", "11", OWN) UDP("0043", "0044")},
};

static const struct example ip6[] = {
	{"own", PASS, ETH(M1, "86dd") IP6("0014", "06", OWN6) TCP},
	{"link-local", PASS, ETH(M1, "86dd") IP6("0014", "06", LL1) TCP},
	{"link-local of a MAC with IPv4", PASS, ETH(M2, "86dd") IP6("0014", "06", LL2) TCP},
	{"any", PASS, ETH(M3, "86dd") IP6("0014", "06", OTHER6) TCP},
	{"another's", DROP(SPOOFED_IP), ETH(M1, "86dd") IP6("0014", "06", OTHER6) TCP},
	{"other MAC's", DROP(SPOOFED_IP), ETH(M2, "86dd") IP6("0014", "06", OWN6) TCP},
	{"other link-local", DROP(SPOOFED_IP), ETH(M1, "86dd") IP6("0014", "06", LL2) TCP},
	{"none", DROP(SPOOFED_IP), ETH(M1, "86dd") IP6("0014", "06", NONE6) TCP},
	{"nothing in it", PASS, ETH(M1, "86dd") IP6("0000", "3b", OWN6)},
	{"version", DROP(BAD_HEADER), ETH(M1, "86dd") "4000000000003bff" OWN6 NODES},
	{"length beyond the frame", DROP(BAD_HEADER), ETH(M1, "86dd") IP6("0001", "3b", OWN6)},

	/* extension headers */
	{"destination options", PASS, ETH(M1, "86dd") IP6("001c", "3c", OWN6) EXT("06") TCP},
	{"behind them another's", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("001c", "3c", OTHER6) EXT("06") TCP},
	{"a chain", PASS,
		ETH(M1, "86dd") IP6("003c", "00", OWN6) ROUTER_ALERT("2b") EXT("3c") EXT("33")
			AH("06") TCP},
	{"too long a chain", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0048", "3c", OWN6) EXT("3c") EXT("3c") EXT("3c") EXT("3c")
			EXT("3c") EXT("3c") EXT("3c") EXT("3c") EXT("3b")},
	{"a chain beyond the packet", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0008", "3c", OWN6) EXT("3c")},
	{"a header beyond the packet", PASS, /* and nothing we look for behind it */
		ETH(M1, "86dd") IP6("0008", "3c", OWN6) "3bff010400000000"},
	{"discovery beyond the packet", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0008", "3c", OWN6) "3aff010400000000"},
	{"a jumbo payload", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0000", "00", OWN6) "3b00c20400010000"},
	{"a first fragment", PASS,
		ETH(M1, "86dd") IP6("001c", "2c", OWN6) FRAGMENT("06", "0001") TCP},
	{"a later fragment", PASS,
		ETH(M1, "86dd") IP6("0010", "2c", OWN6) FRAGMENT("3a", "0009") ICMP6("86")},
	{"a first fragment without its header", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0010", "2c", OWN6) FRAGMENT("3c", "0001") EXT("3a")},

	/* DHCPv6 */
	{"UDP", PASS, ETH(M1, "86dd") IP6("0008", "11", OWN6) UDP("04d2", "0035")},
	{"a short UDP header", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0004", "11", OWN6) "04d20035"},
	{"solicit", PASS, ETH(M1, "86dd") IP6("0008", "11", LL1) UDP("0222", "0223")},
	{"advertise", DROP(ROGUE_DHCP),
		ETH(M1, "86dd") IP6("0008", "11", LL1) UDP("0223", "0222")},
	{"advertise from an odd port", DROP(ROGUE_DHCP),
		ETH(M3, "86dd") IP6("0008", "11", OTHER6) UDP("04d2", "0222")},
	{"advertise behind options", DROP(ROGUE_DHCP),
		ETH(M1, "86dd") IP6("0010", "3c", LL1) EXT("11") UDP("0223", "0222")},
};

static const struct example icmp6[] = {
	{"echo", PASS, ETH(M1, "86dd") IP6("0008", "3a", OWN6) ICMP6("80")},
	{"another's echo", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0008", "3a", OTHER6) ICMP6("80")},
	{"nobody's echo", DROP(SPOOFED_IP), ETH(M1, "86dd") IP6("0008", "3a", NONE6) ICMP6("80")},
	{"a short header", DROP(BAD_HEADER), ETH(M1, "86dd") IP6("0004", "3a", OWN6) "80000000"},

	/* routers */
	{"advertisement", DROP(ROGUE_RA), ETH(M1, "86dd") IP6("0008", "3a", LL1) ICMP6("86")},
	{"with any address", DROP(ROGUE_RA),
		ETH(M3, "86dd") IP6("0008", "3a", OTHER6) ICMP6("86")},
	{"redirect", DROP(ROGUE_RA), ETH(M1, "86dd") IP6("0008", "3a", LL1) ICMP6("89")},
	{"behind options", DROP(ROGUE_RA),
		ETH(M1, "86dd") IP6("0010", "3c", LL1) EXT("3a") ICMP6("86")},
	{"in a first fragment", DROP(ROGUE_RA),
		ETH(M1, "86dd") IP6("0010", "2c", LL1) FRAGMENT("3a", "0001") ICMP6("86")},
	{"behind options in a fragment", DROP(ROGUE_RA),
		ETH(M1, "86dd") IP6("0018", "2c", LL1) FRAGMENT("3c", "0001") EXT("3a")
			ICMP6("86")},
	{"behind authentication", DROP(ROGUE_RA),
		ETH(M1, "86dd") IP6("0018", "33", LL1) AH("3a") ICMP6("86")},
	{"solicitation", PASS, ETH(M1, "86dd") IP6("0010", "3a", LL1) ICMP6("85") SOURCE_MAC(M1)},
	{"solicitation without source", PASS,
		ETH(M1, "86dd") IP6("0008", "3a", NONE6) ICMP6("85")},
	{"solicitation with another's MAC", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0010", "3a", LL1) ICMP6("85") SOURCE_MAC(MX)},
	{"the same without source", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0010", "3a", NONE6) ICMP6("85") SOURCE_MAC(MX)},

	/* multicast listeners */
	{"report", PASS, ETH(M1, "86dd") IP6("0010", "00", NONE6) ROUTER_ALERT("3a") ICMP6("8f")},
	{"report, version 1", PASS,
		ETH(M1, "86dd") IP6("0020", "00", LL1) ROUTER_ALERT("3a") ND("83", NODES)},
	{"done", PASS,
		ETH(M1, "86dd") IP6("0020", "00", NONE6) ROUTER_ALERT("3a") ND("84", NODES)},
	{"another's report", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0010", "00", LL2) ROUTER_ALERT("3a") ICMP6("8f")},
	{"nobody's query", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0020", "00", NONE6) ROUTER_ALERT("3a") ND("82", NODES)},
};

static const struct example nd[] = {
	{"solicitation", PASS,
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("87", OTHER6) SOURCE_MAC(M1)},
	{"solicitation without options", PASS,
		ETH(M1, "86dd") IP6("0018", "3a", OWN6) ND("87", OTHER6)},
	{"another's solicitation", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0018", "3a", OTHER6) ND("87", OWN6)},
	{"another's MAC", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("87", OTHER6) SOURCE_MAC(MX)},
	{"another's MAC behind a nonce", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0028", "3a", OWN6) ND("87", OTHER6) NONCE SOURCE_MAC(MX)},
	{"another's MAC behind ours", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0028", "3a", OWN6) ND("87", OTHER6) SOURCE_MAC(M1)
			SOURCE_MAC(MX)},
	{"our MAC without that address", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("87", OTHER6) SOURCE_MAC(M2)},
	{"our MAC with every address", PASS,
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("87", OTHER6) SOURCE_MAC(M3)},

	{"probe", PASS, ETH(M1, "86dd") IP6("0018", "3a", NONE6) ND("87", OWN6)},
	{"probe with a nonce", PASS, ETH(M1, "86dd") IP6("0020", "3a", NONE6) ND("87", LL1) NONCE},
	{"probe for another's", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0018", "3a", NONE6) ND("87", OTHER6)},
	{"probe with another's MAC", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "3a", NONE6) ND("87", OWN6) SOURCE_MAC(MX)},

	{"advertisement", PASS,
		ETH(M1, "86dd") IP6("0020", "3a", LL1) ND("88", OWN6) TARGET_MAC(M1)},
	{"without options", PASS, ETH(M1, "86dd") IP6("0018", "3a", OWN6) ND("88", OWN6)},
	{"of link-local", PASS,
		ETH(M1, "86dd") IP6("0020", "3a", LL1) ND("88", LL1) TARGET_MAC(M1)},
	{"of any", PASS, ETH(M3, "86dd") IP6("0020", "3a", OTHER6) ND("88", OWN6) TARGET_MAC(M3)},
	{"of another's", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("88", OTHER6) TARGET_MAC(M1)},
	{"from another's", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0020", "3a", OTHER6) ND("88", OWN6) TARGET_MAC(M1)},
	{"from nobody", DROP(SPOOFED_IP),
		ETH(M1, "86dd") IP6("0020", "3a", NONE6) ND("88", OWN6) TARGET_MAC(M1)},
	{"at another's MAC", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("88", OWN6) TARGET_MAC(MX)},
	{"any at another's MAC", DROP(SPOOFED_ND),
		ETH(M3, "86dd") IP6("0020", "3a", OTHER6) ND("88", OTHER6) TARGET_MAC(MX)},

	{"behind hop-by-hop options", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "00", OWN6) ROUTER_ALERT("3a") ND("87", OTHER6)},
	{"in an atomic fragment", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "2c", OWN6) FRAGMENT("3a", "0000") ND("88", OWN6)},
	{"in a first fragment", DROP(SPOOFED_ND),
		ETH(M1, "86dd") IP6("0020", "2c", OWN6) FRAGMENT("3a", "0001") ND("88", OWN6)},
	{"short", DROP(BAD_HEADER), ETH(M1, "86dd") IP6("0008", "3a", OWN6) ICMP6("88")},
	{"an option of no length", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("88", OWN6) "0200" M1},
	{"an option beyond the packet", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("0020", "3a", OWN6) ND("88", OWN6) "0202" M1},
	{"half an option", DROP(BAD_HEADER),
		ETH(M1, "86dd") IP6("001c", "3a", OWN6) ND("88", OWN6) "02010200"},
};

#endif
