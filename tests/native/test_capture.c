/* SPDX-License-Identifier: Apache-2.0
 *
 * Captures: what is in their files, what they lose, when they end.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/bpf.h>
#include <poll.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loan.h"
#include "core/pool.h"
#include "probe/backlog.h"

#define RECORDS 20000
#define ROUNDS 100
#define BUFFER (1u << 20)
#define FILE_MAX (8u << 20)

/* ---- backlogs ---- */

/* A packet with len bytes of which the first says who it is. */
static struct rte_mbuf *packet(uint8_t who, uint16_t len)
{
	struct rte_mbuf *m = harness_frame(0, 0, len);

	memset(rte_pktmbuf_mtod(m, void *), who, len);
	return m;
}

static void assert_record(const struct vb_record *r, uint8_t who, uint32_t len)
{
	assert_non_null(r);
	assert_int_equal(r->length, len);
	assert_int_equal(r->kept, len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(r->data[i], who);
}

/* Lengths that meet the ring's end in all ways. */
static uint16_t length_of(uint32_t i)
{
	return 1 + (i * 2654435761u >> 16) % 2000;
}

static void a_backlog_keeps_order_and_bytes(void **state)
{
	struct vb_backlog b = {0};
	uint32_t in = 0, out = 0;

	(void)state;
	harness_start(2);
	assert_int_equal(vb_backlog_init(&b, 1), 0);
	assert_int_equal(b.size, VB_BACKLOG_MIN);
	while (out < RECORDS) {
		/* Now and then until it is full, now and then until it is empty. */
		for (uint32_t n = in % 331; n > 0; n--, in++) {
			struct rte_mbuf *m = packet(in, length_of(in));
			bool done = vb_backlog_put(&b, m, m->pkt_len, 1);

			rte_pktmbuf_free(m);
			if (!done)
				break;
		}
		in += in % 331 == 0;
		for (uint32_t n = out % 257 + 1; n > 0; n--) {
			const struct vb_record *r = vb_backlog_first(&b);

			if (r == NULL)
				break;
			while (r->length != length_of(out))
				out++;
			assert_record(r, out, length_of(out));
			vb_backlog_pop(&b, r);
			out++;
		}
	}
	vb_backlog_fini(&b);
	assert_int_equal(harness_in_use(), 0);
}

static void a_full_backlog_takes_nothing(void **state)
{
	struct vb_backlog b = {0};
	struct rte_mbuf *m;
	uint32_t n = 0;

	(void)state;
	harness_start(2);
	assert_int_equal(vb_backlog_init(&b, VB_BACKLOG_MIN), 0);
	m = packet(7, 1000);
	while (vb_backlog_put(&b, m, 1000, 1))
		n++;
	assert_int_equal(n, VB_BACKLOG_MIN / (sizeof(struct vb_record) + 1000));
	vb_backlog_pop(&b, vb_backlog_first(&b));
	assert_true(vb_backlog_put(&b, m, 100, 1));
	while (n-- > 1) {
		assert_record(vb_backlog_first(&b), 7, 1000);
		vb_backlog_pop(&b, vb_backlog_first(&b));
	}
	assert_int_equal(vb_backlog_first(&b)->kept, 100);
	assert_int_equal(vb_backlog_first(&b)->length, 1000);
	vb_backlog_pop(&b, vb_backlog_first(&b));
	assert_null(vb_backlog_first(&b));
	rte_pktmbuf_free(m);
	vb_backlog_fini(&b);
}

static void lent_bytes_are_copied(void **state)
{
	static uint8_t guest[3000];
	struct vb_backlog b = {0};
	struct rte_mbuf *m, *loan;

	(void)state;
	harness_start(2);
	memset(guest, 9, sizeof(guest));
	assert_int_equal(vb_backlog_init(&b, 0), 0);
	m = packet(9, 512);
	loan = vb_loan_new();
	vb_loan_of(loan, guest, sizeof(guest));
	assert_int_equal(rte_pktmbuf_chain(m, loan), 0);
	m->pkt_len += loan->data_len;
	assert_true(vb_backlog_put(&b, m, m->pkt_len, 1));
	rte_pktmbuf_free(m);
	assert_record(vb_backlog_first(&b), 9, 512 + sizeof(guest));
	vb_backlog_fini(&b);
	assert_int_equal(harness_in_use(), 0);
}

/* ---- a capture and its file ---- */

struct rig {
	struct vb_brick *sw;
	struct sink guest[2];
	uint16_t edge[2];
	struct vb_capture *capture;
	int fd[2]; /* ours, its */
};

struct found {
	uint32_t nb_packets, nb_totals;
	struct {
		uint64_t time;
		uint32_t kept, length, direction;
		uint8_t first[16];
	} packets[128];
	uint64_t seen, lost, wanted, delivered;
};

static uint8_t file[FILE_MAX];

static uint32_t word(const uint8_t *p, uint32_t offset)
{
	uint32_t v;

	memcpy(&v, p + offset, sizeof(v));
	return v;
}

/* The value of an option among those that begin at offset. */
static const uint8_t *option(const uint8_t *p, uint32_t offset, uint16_t code)
{
	while ((word(p, offset) & 0xffff) != code) {
		assert_true((word(p, offset) & 0xffff) != 0);
		offset += 4 + RTE_ALIGN_CEIL(word(p, offset) >> 16, 4);
	}
	return p + offset + 4;
}

static uint64_t total(const uint8_t *p, uint16_t code)
{
	uint64_t v;

	memcpy(&v, option(p, 20, code), sizeof(v));
	return v;
}

static void note_packet(struct found *f, const uint8_t *p)
{
	uint32_t i = f->nb_packets++;

	if (i >= RTE_DIM(f->packets))
		return;
	f->packets[i].time = (uint64_t)word(p, 12) << 32 | word(p, 16);
	f->packets[i].kept = word(p, 20);
	f->packets[i].length = word(p, 24);
	memcpy(f->packets[i].first, p + 28, sizeof(f->packets[i].first));
	f->packets[i].direction = word(option(p, 28 + RTE_ALIGN_CEIL(word(p, 20), 4), 2), 0);
}

/* Take a file apart; every block is whole. */
static void parse(struct found *f, uint32_t size)
{
	memset(f, 0, sizeof(*f));
	for (uint32_t at = 0; at < size;) {
		const uint8_t *p = file + at;
		uint32_t length = word(p, 4);

		assert_int_equal(length % 4, 0);
		assert_int_equal(word(p, length - 4), length);
		assert_true(at > 0 || word(p, 0) == 0x0a0d0d0a);
		if (word(p, 0) == 1) {
			assert_int_equal(word(p, 8), 1);
			assert_memory_equal(option(p, 16, 2), "one", 3);
		} else if (word(p, 0) == 6) {
			note_packet(f, p);
		} else if (word(p, 0) == 5) {
			f->nb_totals++;
			f->seen = total(p, 4);
			f->lost = total(p, 5);
			f->wanted = total(p, 6);
			f->delivered = total(p, 8);
		}
		at += length;
	}
}

/* Read the file to its end. */
static void read_file(struct rig *rig, struct found *f)
{
	uint32_t size = 0;
	ssize_t n;

	while ((n = read(rig->fd[0], file + size, sizeof(file) - size)) > 0)
		size += n;
	assert_int_equal(n, 0);
	parse(f, size);
}

static void rig_start(struct rig *rig)
{
	static const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};

	harness_start(2);
	*rig = (struct rig){0};
	assert_int_equal(vb_switch_create("switch", &config, &rig->sw), 0);
	for (int i = 0; i < 2; i++) {
		sink_create(&rig->guest[i], i == 0 ? "one" : "two");
		rig->edge[i] = join(rig->guest[i].brick, rig->sw);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, rig->fd), 0);
}

static void rig_end(struct rig *rig)
{
	if (rig->capture != NULL)
		vb_capture_stop(rig->capture);
	close(rig->fd[0]);
	for (int i = 0; i < 2; i++)
		if (rig->guest[i].brick != NULL)
			assert_int_equal(vb_brick_destroy(rig->guest[i].brick), 0);
	assert_int_equal(vb_brick_destroy(rig->sw), 0);
	assert_int_equal(harness_in_use(), 0);
}

static void capture(struct rig *rig, struct vb_capture_config config)
{
	if (config.buffer == 0)
		config.buffer = BUFFER;
	config.from_peer = config.to_peer = true;
	assert_int_equal(vb_capture_start(rig->guest[0].brick, &config, &rig->capture), 0);
}

static void deliver(struct rig *rig)
{
	assert_int_equal(vb_capture_deliver(rig->capture, rig->fd[1]), 0);
}

static void stop(struct rig *rig)
{
	vb_capture_stop(rig->capture);
	rig->capture = NULL;
}

static void say(struct rig *rig, int from, uint8_t dst, uint16_t len)
{
	struct rte_mbuf *m = harness_frame(dst, 1 + from, len);

	push_from(rig->guest[from].brick, rig->edge[from], &m, 1);
	sink_empty(&rig->guest[1 - from]);
}

static void what_passes_is_in_the_file(void **state)
{
	uint64_t before = vb_wall_ns();
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	say(&rig, 0, 2, 61);
	deliver(&rig);
	say(&rig, 1, 1, 1514);
	say(&rig, 0, 0xff, 64);
	stop(&rig);
	read_file(&rig, &f);
	assert_int_equal(f.nb_packets, 3);
	assert_int_equal(f.packets[0].length, 61);
	assert_int_equal(f.packets[0].direction, 1);
	assert_int_equal(f.packets[0].first[5], 2);
	assert_int_equal(f.packets[1].kept, 1514);
	assert_int_equal(f.packets[1].direction, 2);
	assert_int_equal(f.packets[2].first[5], 0xff);
	for (int i = 0; i < 3; i++) {
		assert_in_range(f.packets[i].time, before, vb_wall_ns());
		before = f.packets[i].time;
	}
	assert_int_equal(f.nb_totals, 1);
	assert_int_equal(f.seen, 3);
	assert_int_equal(f.delivered, 3);
	assert_int_equal(f.lost, 0);
	rig_end(&rig);
}

static void it_ends_with_the_last_packet_wanted(void **state)
{
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){.max_packets = 2, .snaplen = 20});
	deliver(&rig);
	for (int i = 0; i < 5; i++)
		say(&rig, 0, 2, 60);
	read_file(&rig, &f);
	assert_int_equal(f.nb_packets, 2);
	assert_int_equal(f.packets[1].kept, 20);
	assert_int_equal(f.packets[1].length, 60);
	assert_int_equal(f.delivered, 2);
	rig_end(&rig);
}

static void it_ends_after_its_time(void **state)
{
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){.max_ns = 1});
	deliver(&rig);
	read_file(&rig, &f);
	assert_int_equal(f.nb_totals, 1);
	rig_end(&rig);
}

static void it_ends_with_its_brick(void **state)
{
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	deliver(&rig);
	say(&rig, 0, 2, 60);
	assert_int_equal(vb_brick_destroy(rig.guest[0].brick), 0);
	rig.guest[0].brick = NULL;
	read_file(&rig, &f);
	assert_int_equal(f.nb_packets, 1);
	assert_int_equal(f.nb_totals, 1);
	rig_end(&rig);
}

static void a_filter_and_a_direction_choose(void **state)
{
	static const struct vb_filter_insn long_ones[] = {
		{BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
		{BPF_JMP | BPF_JGT | BPF_K, 0, 1, 100},
		{BPF_RET | BPF_K, 0, 0, 1},
		{BPF_RET | BPF_K, 0, 0, 0},
	};
	struct vb_capture_config config = {
		.filter = {long_ones, RTE_DIM(long_ones)}, .buffer = BUFFER};
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	assert_int_equal(vb_capture_start(rig.guest[0].brick, &config, &rig.capture), -EINVAL);
	config.from_peer = true;
	assert_int_equal(vb_capture_start(rig.guest[0].brick, &config, &rig.capture), 0);
	deliver(&rig);
	say(&rig, 0, 2, 60);
	say(&rig, 0, 2, 101);
	say(&rig, 1, 1, 102);
	stop(&rig);
	read_file(&rig, &f);
	assert_int_equal(f.nb_packets, 1);
	assert_int_equal(f.packets[0].length, 101);
	assert_int_equal(f.seen, 2);
	assert_int_equal(f.wanted, 1);
	rig_end(&rig);
}

static void who_reads_too_late_has_less(void **state)
{
	uint32_t n = 3 * BUFFER / 1000;
	struct found f;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = harness_frame(2, 1, 1000);

		push_from(rig.guest[0].brick, rig.edge[0], &m, 1);
		/* None is lost on its way. */
		assert_int_equal(sink_empty(&rig.guest[1]), 1);
	}
	deliver(&rig);
	stop(&rig);
	read_file(&rig, &f);
	assert_int_equal(f.seen, n);
	assert_true(f.lost > 0);
	assert_int_equal(f.nb_packets, f.delivered);
	assert_int_equal(f.delivered + f.lost, n);
	rig_end(&rig);
}

static void a_reader_who_leaves_ends_it(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	deliver(&rig);
	close(rig.fd[0]);
	/* Its end of the socket is closed by its thread. */
	harness_wait(fcntl(rig.fd[1], F_GETFD) < 0);
	say(&rig, 0, 2, 60);
	rig.fd[0] = dup(STDERR_FILENO);
	rig_end(&rig);
}

static void nobody_need_ever_read_it(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	say(&rig, 0, 2, 60);
	stop(&rig);
	close(rig.fd[1]);
	rig_end(&rig);
	/* Nor does the end of everything wait for long. */
	rig_start(&rig);
	capture(&rig, (struct vb_capture_config){0});
	deliver(&rig);
	assert_int_equal(vb_capture_deliver(rig.capture, -1), -EBADF);
	rig_end(&rig);
}

static void captures_come_and_go_under_traffic(void **state)
{
	struct springs springs;
	struct found f;

	(void)state;
	springs_start(&springs, 2);
	for (int i = 0; i < ROUNDS; i++) {
		struct vb_capture_config c = {
			.from_peer = true, .to_peer = true, .max_packets = 100, .buffer = BUFFER};
		struct rig rig = {0};

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, rig.fd), 0);
		assert_int_equal(vb_capture_start(springs.guests[i % 2], &c, &rig.capture), 0);
		deliver(&rig);
		read_file(&rig, &f);
		assert_int_equal(f.nb_packets, 100);
		for (int j = 1; j < 100; j++)
			assert_true(f.packets[j].time >= f.packets[j - 1].time);
		vb_capture_stop(rig.capture);
		close(rig.fd[0]);
	}
	springs_end(&springs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_backlog_keeps_order_and_bytes),
		cmocka_unit_test(a_full_backlog_takes_nothing),
		cmocka_unit_test(lent_bytes_are_copied),
		cmocka_unit_test(what_passes_is_in_the_file),
		cmocka_unit_test(it_ends_with_the_last_packet_wanted),
		cmocka_unit_test(it_ends_after_its_time),
		cmocka_unit_test(it_ends_with_its_brick),
		cmocka_unit_test(a_filter_and_a_direction_choose),
		cmocka_unit_test(who_reads_too_late_has_less),
		cmocka_unit_test(a_reader_who_leaves_ends_it),
		cmocka_unit_test(nobody_need_ever_read_it),
		cmocka_unit_test(captures_come_and_go_under_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
