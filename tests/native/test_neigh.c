/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bricks/neigh.h"
#include "bricks/neigh_packet.h"

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
	vb_neigh_snoop(t, &m, origin, now);
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

static void others_are_listed(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), b = neighbour(6, mac2, 2), got[4];
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	hear(&t, &b, 22, 100);
	assert_int_equal(vb_neigh_list(&t, 11, true, 100, got, 4), 1);
	assert_memory_equal(got[0].mac, mac2, 6);
	assert_int_equal(vb_neigh_list(&t, 11, false, 100, got, 4), 1);
	assert_memory_equal(got[0].mac, mac1, 6);
	assert_int_equal(vb_neigh_list(&t, 33, true, 100, got, 1), 1); /* room for one */
	vb_neigh_fini(&t);
}

static void the_latest_word_counts(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), b = neighbour(4, mac2, 1), got[4];
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	hear(&t, &b, 22, 101);
	assert_int_equal(vb_neigh_list(&t, 0, true, 101, got, 4), 1);
	assert_memory_equal(got[0].mac, mac2, 6);
	vb_neigh_fini(&t);
}

static void the_old_is_not_told(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), got[4];
	struct vb_neigh_table t;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	hear(&t, &a, 11, 100);
	assert_int_equal(vb_neigh_list(&t, 0, true, 100 + VB_NEIGH_AGE_S, got, 4), 1);
	assert_int_equal(vb_neigh_list(&t, 0, true, 101 + VB_NEIGH_AGE_S, got, 4), 0);
	vb_neigh_fini(&t);
}

static void many_make_room_for_the_new(void **state)
{
	static struct vb_neigh got[VB_NEIGH_ENTRIES + 1];
	struct vb_neigh_table t;
	uint32_t n;

	(void)state;
	assert_int_equal(vb_neigh_init(&t, NULL), 0);
	for (uint32_t i = 0; i < 4 * VB_NEIGH_ENTRIES; i++) {
		struct vb_neigh a = neighbour(4, mac1, 1);

		memcpy(a.ip, &i, 4);
		a.ip[3] = 10;
		hear(&t, &a, 1, 100 + i / 8);
	}
	n = vb_neigh_list(&t, 0, true, 1000, got, VB_NEIGH_ENTRIES + 1);
	assert_in_range(n, VB_NEIGH_ENTRIES * 9 / 10, VB_NEIGH_ENTRIES);
	vb_neigh_fini(&t);
}

static void a_file_outlives_its_table(void **state)
{
	struct vb_neigh a = neighbour(4, mac1, 1), got[4];
	char path[] = "/tmp/vb-neigh-XXXXXX";
	struct vb_neigh_table t;
	struct stat st;
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(vb_neigh_init(&t, path), 0);
	hear(&t, &a, 11, 100);
	vb_neigh_fini(&t);
	assert_int_equal(vb_neigh_init(&t, path), 0);
	assert_int_equal(vb_neigh_list(&t, 0, true, 100, got, 4), 1);
	vb_neigh_fini(&t);

	/* Cut off, or garbage: begun anew, or the damaged entry is passed over. */
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 8; at < st.st_size; at += 36)
		assert_int_equal(pwrite(fd, "\xde\xad\xbe\xef", 4, at), 4);
	assert_int_equal(vb_neigh_init(&t, path), 0);
	assert_int_equal(vb_neigh_list(&t, 0, true, 100, got, 4), 0);
	hear(&t, &a, 11, 100);
	vb_neigh_fini(&t);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(vb_neigh_init(&t, path), 0);
	assert_int_equal(vb_neigh_list(&t, 0, true, 100, got, 4), 0);
	vb_neigh_fini(&t);
	close(fd);
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
		cmocka_unit_test(others_are_listed),
		cmocka_unit_test(the_latest_word_counts),
		cmocka_unit_test(the_old_is_not_told),
		cmocka_unit_test(many_make_room_for_the_new),
		cmocka_unit_test(a_file_outlives_its_table),
		cmocka_unit_test(a_bad_path_is_an_error),
		cmocka_unit_test(lies_are_not_believed),
		cmocka_unit_test(any_length_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
