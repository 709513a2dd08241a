/* SPDX-License-Identifier: Apache-2.0
 *
 * What a guest may send, frame by frame: the whole frame, cut short anywhere, and
 * spread over segments in any way.
 *
 * Segments lie in memory of exactly their size, so that ASan sees a byte too far.
 */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "antispoof_examples.h"
#include "bricks/mac_table.h"

#define FRAME_MAX 700

static struct antispoof_rules *rules;

static int setup(void **state)
{
	const struct vb_security security = {
		.mode = VB_SECURITY_FILTERED, .nb_pairs = RTE_DIM(pairs), .pairs = pairs};

	(void)state;
	return antispoof_rules_new(&security, &rules);
}

static int teardown(void **state)
{
	(void)state;
	free(rules);
	return 0;
}

/* The verdict on len bytes, of which the first segment has "first" and the others "each". */
static enum vb_drop verdict_on(const uint8_t *bytes, uint32_t len, uint32_t first, uint32_t each)
{
	static struct rte_mbuf segs[FRAME_MAX + 1];
	uint32_t n = 0, at = 0, size = first;
	enum vb_drop verdict;

	do {
		size = RTE_MIN(size, len - at);
		segs[n] = (struct rte_mbuf){.buf_addr = malloc(size), .data_len = size};
		memcpy(segs[n].buf_addr, bytes + at, size);
		if (n > 0)
			segs[n - 1].next = &segs[n];
		n++;
		at += size;
		size = each;
	} while (at < len);
	segs[0].pkt_len = len;
	segs[0].nb_segs = n;
	verdict = antispoof_check(rules, &segs[0]);
	while (n-- > 0)
		free(segs[n].buf_addr);
	return verdict;
}

static uint32_t parse(const char *hex, uint8_t *bytes)
{
	uint32_t len = strlen(hex) / 2;

	for (uint32_t i = 0; i < len; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], 0}, *end;

		bytes[i] = strtoul(digits, &end, 16);
		assert_ptr_equal(end, digits + 2);
	}
	return len;
}

static const char *name_of(enum vb_drop verdict)
{
	return verdict == PASS ? "pass" : vb_drop_name(verdict);
}

static void expect(const struct example *e, const char *how, uint32_t at, enum vb_drop got)
{
	if (got != e->expected)
		fail_msg("%s, %s at %u: %s, not %s", e->what, how, at, name_of(got),
			name_of(e->expected));
}

static void check_segments(const struct example *e, const uint8_t *bytes, uint32_t len)
{
	expect(e, "whole", len, verdict_on(bytes, len, len, 0));
	for (uint32_t i = 0; i < len; i++)
		expect(e, "split", i, verdict_on(bytes, len, i, len));
	expect(e, "in bytes", 1, verdict_on(bytes, len, 1, 1));
}

static void check_all(const struct example *examples, size_t n)
{
	uint8_t bytes[FRAME_MAX];

	for (size_t i = 0; i < n; i++)
		check_segments(&examples[i], bytes, parse(examples[i].frame, bytes));
}

static void ethernet_is_checked(void **state)
{
	(void)state;
	check_all(ethernet, RTE_DIM(ethernet));
}

static void ip_and_arp_are_checked(void **state)
{
	(void)state;
	check_all(ip, RTE_DIM(ip));
}

static void ip6_is_checked(void **state)
{
	(void)state;
	check_all(ip6, RTE_DIM(ip6));
}

static void icmp6_is_checked(void **state)
{
	(void)state;
	check_all(icmp6, RTE_DIM(icmp6));
}

static void neighbour_discovery_is_checked(void **state)
{
	(void)state;
	check_all(nd, RTE_DIM(nd));
}

/* A packet says how long it is: nothing that lacks its end passes. */
static void cut(const struct example *examples, size_t n)
{
	uint8_t bytes[FRAME_MAX];

	for (size_t i = 0; i < n; i++) {
		uint32_t len = parse(examples[i].frame, bytes);

		for (uint32_t l = 0; l < len; l++) {
			enum vb_drop got = verdict_on(bytes, l, l, 0);

			if (got == PASS)
				fail_msg("%s passes with %u bytes", examples[i].what, l);
			if (l < 14)
				assert_int_equal(got, VB_DROP_TOO_SHORT);
		}
	}
}

static void what_is_cut_short_never_passes(void **state)
{
	(void)state;
	cut(ip, RTE_DIM(ip));
	cut(ip6, RTE_DIM(ip6));
	cut(icmp6, RTE_DIM(icmp6));
	cut(nd, RTE_DIM(nd));
}

/* Frames are padded to 60 bytes; receivers do not look there, and we do not. */
static void padding_is_no_part_of_the_packet(void **state)
{
	static const struct example padded[] = {
		{"ARP", PASS, ETH(M1, "0806") ARP("0001", M1, OWN, OTHER) NONE6},
		{"IPv4", PASS, ETH(M1, "0800") IP4("0014", "0000", "ff", OWN) TCP},
		{"UDP", DROP(BAD_HEADER),
			ETH(M1, "0800") IP4("0014", "0000", "11", OWN) UDP("04d2", "0035")},
		{"extensions", DROP(BAD_HEADER),
			ETH(M1, "86dd") IP6("0004", "3c", OWN6) EXT("3b")},
		{"options", PASS,
			ETH(M1, "86dd") IP6("0018", "3a", OWN6) ND("88", OWN6) TARGET_MAC(MX)},
	};

	(void)state;
	check_all(padded, RTE_DIM(padded));
}

/* Discovery of which the end is beyond what is looked at. */
static void what_is_too_long_to_see_never_passes(void **state)
{
	uint8_t bytes[FRAME_MAX] = {0};
	uint32_t len = parse(ETH(M1, "86dd") IP6("0018", "3a", OWN6) ND("88", OWN6), bytes);

	(void)state;
	while (len + 8 <= FRAME_MAX) {
		parse(NONCE, bytes + len);
		len += 8;
		bytes[18] = (len - 54) >> 8;
		bytes[19] = len - 54;
		assert_int_equal(
			verdict_on(bytes, len, len, 0), len <= 512 ? PASS : VB_DROP_BAD_HEADER);
		assert_int_equal(verdict_on(bytes, len, 7, 100), verdict_on(bytes, len, len, 0));
	}
	/* Behind an extension header of 600 bytes. */
	len = parse(ETH(M1, "86dd") IP6("0280", "3c", OWN6) "3a4a", bytes) + 0x27e;
	memset(bytes + 56, 0, len - 56);
	assert_int_equal(verdict_on(bytes, len, len, 0), VB_DROP_BAD_HEADER);
	bytes[54] = 6; /* TCP: by its source alone */
	assert_int_equal(verdict_on(bytes, len, len, 0), PASS);
}

/* ---- any bytes at all ---- */

static uint32_t random_number(void)
{
	static uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static uint32_t random_frame(uint8_t *bytes)
{
	static const struct {
		const struct example *examples;
		size_t n;
	} tables[] = {{ethernet, RTE_DIM(ethernet)}, {ip, RTE_DIM(ip)}, {ip6, RTE_DIM(ip6)},
		{icmp6, RTE_DIM(icmp6)}, {nd, RTE_DIM(nd)}};
	uint32_t table = random_number() % RTE_DIM(tables), len;

	for (uint32_t i = 0; i < FRAME_MAX; i++)
		bytes[i] = random_number() >> 24;
	len = parse(tables[table].examples[random_number() % tables[table].n].frame, bytes);
	for (uint32_t n = random_number() % 6; n > 0; n--)
		bytes[12 + random_number() % (len - 12)] = random_number() >> 24;
	return random_number() % 2 ? random_number() % (len + 1)
				   : len + random_number() % (FRAME_MAX - len + 1);
}

static void any_bytes_in_any_segments_have_one_verdict(void **state)
{
	uint32_t passed = 0, dropped = 0;

	(void)state;
	for (int i = 0; i < 50000; i++) {
		uint8_t bytes[FRAME_MAX];
		uint32_t len = random_frame(bytes), first = random_number() % 80;
		enum vb_drop whole = verdict_on(bytes, len, len, 0);

		assert_in_range(whole, 0, PASS);
		assert_int_equal(verdict_on(bytes, len, first, 1 + random_number() % 200), whole);
		if (whole == PASS)
			assert_true(antispoof_has_mac(rules, vb_mac_load(bytes + 6)));
		passed += whole == PASS;
		dropped += whole != PASS;
	}
	/* It did try both. */
	assert_true(passed > 1000 && dropped > 1000);
}

/* ---- rules ---- */

static int make(const struct vb_address_pair *pair, struct antispoof_rules **out)
{
	const struct vb_security security = {
		.mode = VB_SECURITY_FILTERED, .nb_pairs = 1, .pairs = pair};

	return antispoof_rules_new(&security, out);
}

static void a_prefix_counts_to_its_last_bit(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits <= 160; bits++) {
		uint32_t len = bits <= 32 ? bits : bits - 32;
		struct vb_address_pair pair = {{2}, bits <= 32 ? 4 : 6, len, {0}};
		enum antispoof_family family = bits <= 32 ? ANTISPOOF_IP4 : ANTISPOOF_IP6;
		struct antispoof_rules *one;
		uint8_t address[16];

		memset(pair.address, 0xa5, sizeof(pair.address));
		memcpy(address, pair.address, sizeof(address));
		assert_int_equal(make(&pair, &one), 0);
		assert_true(antispoof_allows(one, 2, family, address));
		assert_false(antispoof_allows(one, 3, family, address));
		if (len > 0) {
			address[(len - 1) / 8] ^= 0x80 >> (len - 1) % 8;
			assert_false(antispoof_allows(one, 2, family, address));
			address[(len - 1) / 8] ^= 0x80 >> (len - 1) % 8;
		}
		if (len < (family == ANTISPOOF_IP4 ? 32 : 128)) {
			address[len / 8] ^= 0x80 >> len % 8;
			assert_true(antispoof_allows(one, 2, family, address));
		}
		free(one);
	}
}

static void bad_rules_are_refused(void **state)
{
	static const struct vb_address_pair bad[] = {
		{{0}, 0, 0, {0}},
		{{3, 0, 0, 0, 0, 1}, 0, 0, {0}},
		{{2}, 5, 0, {0}},
		{{2}, 0, 1, {0}},
		{{2}, 4, 33, {0}},
		{{2}, 6, 129, {0}},
	};
	struct vb_security security = {.mode = VB_SECURITY_CLOSED + 1};
	struct antispoof_rules *none;

	(void)state;
	assert_int_equal(antispoof_rules_new(&security, &none), -EINVAL);
	security = (struct vb_security){VB_SECURITY_FILTERED, VB_PAIRS_MAX + 1, pairs};
	assert_int_equal(antispoof_rules_new(&security, &none), -EINVAL);
	for (size_t i = 0; i < RTE_DIM(bad); i++)
		assert_int_equal(make(&bad[i], &none), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ethernet_is_checked),
		T(ip_and_arp_are_checked),
		T(ip6_is_checked),
		T(icmp6_is_checked),
		T(neighbour_discovery_is_checked),
		T(what_is_cut_short_never_passes),
		T(padding_is_no_part_of_the_packet),
		T(what_is_too_long_to_see_never_passes),
		T(any_bytes_in_any_segments_have_one_verdict),
		T(a_prefix_counts_to_its_last_bit),
		T(bad_rules_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
