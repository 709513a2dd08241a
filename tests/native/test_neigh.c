/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bricks/neigh_packet.h"

/* Where what a table knows is put. */
static struct vb_neigh got[VB_NEIGH_MAX];

static const uint8_t mac1[6] = {2, 0, 0, 0, 0, 1}, mac2[6] = {2, 0, 0, 0, 0, 2};

static struct vb_neigh neighbour(uint8_t family, const uint8_t *mac, uint8_t last)
{
	struct vb_neigh n = {.family = family};

	memcpy(n.mac, mac, 6);
	n.ip[0] = family == 4 ? 10 : 0xfd;
	n.ip[family == 4 ? 3 : 15] = last;
	return n;
}

/* Our own announcement, as a packet in a buffer of exactly its size. */
static struct rte_mbuf packet(uint8_t *buf, const struct vb_neigh *n)
{
	uint16_t len = vb_neigh_frame(n, buf);

	return (struct rte_mbuf){.buf_addr = buf, .data_len = len, .pkt_len = len};
}

static void hear(struct vb_neigh_table *t, const struct vb_neigh *n, uint32_t origin, uint32_t now)
{
	uint8_t buf[VB_NEIGH_FRAME];
	struct rte_mbuf m = packet(buf, n);

	assert_true(vb_neigh_wants(&m));
	vb_neigh_snoop(t, &m, (struct vb_neigh){.origin = origin, .seen_s = now});
}

static void note(struct vb_neigh_table *t, const uint8_t *mac, uint32_t origin, uint32_t now)
{
	vb_neigh_note(t, mac, (struct vb_neigh){.origin = origin, .seen_s = now});
}

static void announcements_say_what_was_known(void **state)
{
	const uint8_t families[] = {4, 6};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vb_neigh n = neighbour(families[i], mac1, 7), got = {0};
		uint8_t buf[VB_NEIGH_FRAME];
		struct rte_mbuf m = packet(buf, &n);

		assert_true(vb_neigh_parse(&m, &got));
		assert_int_equal(got.family, families[i]);
		assert_memory_equal(got.mac, mac1, 6);
		assert_memory_equal(got.ip, n.ip, 16);
	}
}

static void all_are_listed_with_their_origin(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), b = neighbour(6, mac2, 2);
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	hear(&t, &b, 22, 100);
	note(&t, mac2, 33, 100);
	assert_int_equal(vb_neigh_list(&t, 100, got), 3);
	assert_int_equal(got[0].family, 0); /* MACs first */
	assert_memory_equal(got[0].mac, mac2, 6);
	assert_int_equal(got[0].origin, 33);
	for (int i = 1; i < 3; i++)
		assert_memory_equal(got[i].mac, got[i].origin == 11 ? mac1 : mac2, 6);
	vb_neigh_fini(&t);
}

static void the_latest_word_counts(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), b = neighbour(4, mac2, 1);
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	hear(&t, &b, 22, 101);
	note(&t, mac1, 11, 100);
	note(&t, mac1, 22, 101);
	assert_int_equal(vb_neigh_list(&t, 101, got), 2);
	assert_memory_equal(got[1].mac, mac2, 6);
	for (int i = 0; i < 2; i++)
		assert_int_equal(got[i].origin, 22);
	vb_neigh_fini(&t);
}

static void the_old_is_not_told(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1);
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	note(&t, mac2, 11, 101);
	assert_int_equal(vb_neigh_list(&t, 100 + VB_NEIGH_AGE_S, got), 2);
	assert_int_equal(vb_neigh_list(&t, 101 + VB_NEIGH_AGE_S, got), 1);
	assert_memory_equal(got[0].mac, mac2, 6);
	vb_neigh_fini(&t);
}

static void hear_number(struct vb_neigh_table *t, uint32_t number, uint32_t origin, uint32_t now)
{
	struct vb_neigh a = neighbour(4, mac1, 1);
	uint8_t mac[6] = {2, 0};

	memcpy(a.ip, &number, 4);
	a.ip[3] = 10;
	hear(t, &a, origin, now);
	memcpy(mac + 2, &number, 4);
	note(t, mac, origin, now);
}

static uint32_t count(struct vb_neigh_table *t, uint32_t origin, uint32_t now)
{
	uint32_t n = vb_neigh_list(t, now, got), found = 0;

	for (uint32_t i = 0; i < n; i++)
		found += got[i].origin == origin;
	return found;
}

static void many_make_room_for_the_new(void **state)
{
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	for (uint32_t i = 0; i < 4 * VB_NEIGH_MAX; i++)
		hear_number(&t, i, 1, 100 + i / 8);
	assert_in_range(count(&t, 1, 1200), VB_NEIGH_MAX * 9 / 10, VB_NEIGH_MAX);
	/* The latest are among them. */
	for (uint32_t i = 0; i < VB_NEIGH_MAX; i++)
		assert_true(got[i].seen_s > 100 + 2 * VB_NEIGH_MAX / 8);
	vb_neigh_fini(&t);
}

static void who_invents_addresses_does_not_wipe_out_the_others(void **state)
{
	uint32_t before, flooder = 2, victim = 1;
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	for (uint32_t i = 0; i < 100; i++)
		hear_number(&t, i, victim, 100);
	before = count(&t, victim, 100);
	assert_in_range(before, 190, 200);
	for (uint32_t i = 1000; i < 1000 + 10 * VB_NEIGH_MAX; i++)
		hear_number(&t, i, flooder, 200);
	assert_in_range(count(&t, flooder, 200), VB_NEIGH_MAX / 2, VB_NEIGH_MAX);
	assert_int_equal(count(&t, victim, 200), before);
	vb_neigh_fini(&t);
}

static void an_origin_of_several_stations_is_marked(void **state)
{
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear_number(&t, 1, 11, 100);
	hear_number(&t, 2, 22, 100);
	vb_neigh_share(&t, 11);
	assert_int_equal(vb_neigh_list(&t, 100, got), 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(got[i].shared, got[i].origin == 11);
	vb_neigh_fini(&t);
}

static void the_gone_are_forgotten(void **state)
{
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear_number(&t, 1, 11, 100);
	hear_number(&t, 2, 22, 100);
	vb_neigh_forget(&t, 11);
	assert_int_equal(count(&t, 11, 100), 0);
	assert_int_equal(count(&t, 22, 100), 2);
	vb_neigh_fini(&t);
}

/* RFC 903, and as QEMU announces a guest that has moved. */
static void a_mac_is_announced_by_rarp(void **state)
{
	static const uint8_t wanted[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1,
		0x80, 0x35,		   /* to all */
		0, 1, 0x08, 0, 6, 4, 0, 3, /* request reverse */
		2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0};
	const struct vb_neigh n = neighbour(0, mac1, 0);
	uint8_t buf[VB_NEIGH_FRAME];
	struct rte_mbuf m = packet(buf, &n);

	(void)state;
	assert_int_equal(m.data_len, sizeof(wanted));
	assert_memory_equal(buf, wanted, sizeof(wanted));
	assert_false(vb_neigh_wants(&m));
}

static void hear_both(struct vb_neigh_table *t)
{
	struct vb_neigh a = neighbour(4, mac1, 1);

	hear(t, &a, 11, 100);
	note(t, mac2, 11, 100);
}

/* How many entries a table finds in the file. */
static uint32_t remembered(const char *path)
{
	struct vb_neigh_table t;
	uint32_t n;

	assert_int_equal(vb_neigh_init(&t, path), 0);
	n = vb_neigh_list(&t, 100, got);
	hear_both(&t);
	vb_neigh_fini(&t);
	return n;
}

static void overwrite(const char *path, off_t at, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, n, at), n);
	close(fd);
}

static void a_file_outlives_its_table(void **state)
{
	char path[] = "/tmp/vb-neigh-XXXXXX";
	struct stat st;

	(void)state;
	close(mkstemp(path));
	assert_int_equal(remembered(path), 0);
	assert_int_equal(remembered(path), 2);
	/* Damaged entries are passed over. */
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 8; at < st.st_size; at += 36)
		overwrite(path, at, "\xde\xad\xbe\xef", 4);
	assert_int_equal(remembered(path), 0);
	/* Of another version: begun anew. */
	overwrite(path, 6, "\x77", 1);
	assert_int_equal(remembered(path), 0);
	assert_int_equal(remembered(path), 2);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(remembered(path), 0);
	unlink(path);
}

/* As in an upgrade, where both are there for a while. */
static void another_version_takes_nothing_away(void **state)
{
	char path[] = "/tmp/vb-neigh-XXXXXX";
	struct vb_neigh_table old, new;

	(void)state;
	close(mkstemp(path));
	assert_int_equal(vb_neigh_init(&old, path), 0);
	hear_both(&old);
	overwrite(path, 6, "\x77", 1);
	assert_int_equal(vb_neigh_init(&new, path), 0);
	assert_int_equal(vb_neigh_list(&new, 100, got), 0);
	assert_int_equal(vb_neigh_list(&old, 100, got), 2);
	hear_both(&old);
	assert_int_equal(vb_neigh_list(&new, 100, got), 0);
	vb_neigh_fini(&old);
	vb_neigh_fini(&new);
	unlink(path);
}

static void a_bad_path_is_an_error(void **state)
{
	char link[] = "/tmp/vb-neigh-link-XXXXXX";
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, "/tmp"), -EISDIR);
	assert_int_equal(vb_neigh_init(&t, "/does/not/exist"), -ENOENT);
	close(mkstemp(link));
	unlink(link);
	assert_int_equal(symlink("/etc/hostname", link), 0);
	assert_int_equal(vb_neigh_init(&t, link), -ELOOP);
	unlink(link);
}

static bool parses(uint8_t *frame, uint16_t len)
{
	struct rte_mbuf m = {.buf_addr = frame, .data_len = len, .pkt_len = len};
	struct vb_neigh n = {0};

	return vb_neigh_parse(&m, &n);
}

static void lies_are_not_believed(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), b = neighbour(6, mac1, 1),
			probe = {.family = 4};
	uint8_t f[VB_NEIGH_FRAME];

	(void)state;
	memcpy(probe.mac, mac1, 6);
	assert_false(parses(f, vb_neigh_frame(&probe, f))); /* no sender address */
	vb_neigh_frame(&a, f);
	f[27] = 9; /* another MAC than the frame's */
	assert_false(parses(f, 60));
	vb_neigh_frame(&a, f);
	f[21] = 3; /* no such operation */
	assert_false(parses(f, 60));
	vb_neigh_frame(&b, f);
	f[21] = 64; /* came over a router */
	assert_false(parses(f, VB_NEIGH_FRAME));
	vb_neigh_frame(&b, f);
	f[79] = 0; /* an option of length 0: it would never end */
	assert_false(parses(f, VB_NEIGH_FRAME));
	vb_neigh_frame(&b, f);
	f[79] = 2; /* an option beyond the packet's end */
	assert_false(parses(f, VB_NEIGH_FRAME));
}

static void any_length_is_safe(void **state)
{
	const uint8_t families[] = {4, 6};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct vb_neigh n = neighbour(families[i], mac1, 1);
		uint8_t whole[VB_NEIGH_FRAME];
		uint16_t full = vb_neigh_frame(&n, whole);

		for (uint16_t len = 14; len < full; len++) {
			uint8_t *cut = malloc(len);
			struct rte_mbuf m = {.buf_addr = cut, .data_len = len};

			memcpy(cut, whole, len);
			vb_neigh_wants(&m);
			assert_int_equal(parses(cut, len), families[i] == 4 && len >= 42);
			free(cut);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(announcements_say_what_was_known),
		cmocka_unit_test(all_are_listed_with_their_origin),
		cmocka_unit_test(the_latest_word_counts),
		cmocka_unit_test(the_old_is_not_told),
		cmocka_unit_test(many_make_room_for_the_new),
		cmocka_unit_test(who_invents_addresses_does_not_wipe_out_the_others),
		cmocka_unit_test(an_origin_of_several_stations_is_marked),
		cmocka_unit_test(the_gone_are_forgotten),
		cmocka_unit_test(a_mac_is_announced_by_rarp),
		cmocka_unit_test(a_file_outlives_its_table),
		cmocka_unit_test(another_version_takes_nothing_away),
		cmocka_unit_test(a_bad_path_is_an_error),
		cmocka_unit_test(lies_are_not_believed),
		cmocka_unit_test(any_length_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
