/* SPDX-License-Identifier: Apache-2.0
 *
 * Ports and frontends that come and go while two workers forward for others: what the
 * thread sanitizer is for.  Guests reboot, change their queues, replace their memory and
 * their interrupts, and leave, at any moment; two more that do nothing of the kind must
 * not lose a frame that they had room for.
 */
#include "harness.h"

#include <rte_cycles.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "frontend.h"
#include "network.h"

#define RESTLESS 3
#define ROUNDS 60

static int setup(void **state)
{
	(void)state;
	network_start(2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return network_end();
}

static struct vb_brick *port(const char *name, char *path)
{
	struct vb_vhost_config config = {
		.features = vb_vhost_features(), .queues = FRONTEND_QUEUES, .mtu = 1500};
	struct vb_brick *brick;

	snprintf(config.path, sizeof(config.path), "%s/%s", network_dir, name);
	strcpy(path, config.path);
	assert_int_equal(vb_vhost_create(name, &config, network_guard, &brick), 0);
	return brick;
}

/* Everything a frontend may do, over and over. */
static void *restless(void *arg)
{
	unsigned int number = (unsigned int)(uintptr_t)arg, seed = number;
	struct frontend f;

	frontend_init(&f);
	for (int round = 0; round < ROUNDS; round++) {
		char name[32], path[VB_PATH_MAX];
		struct vb_brick *brick;

		snprintf(name, sizeof(name), "restless%u", number);
		brick = port(name, path);
		frontend_connect(&f, path);
		for (int life = 0; life < 3; life++) {
			frontend_start(&f);
			for (int i = 0; i < 30; i++) {
				uint64_t ring = rand_r(&seed) % FRONTEND_RINGS;

				frontend_send(&f, i % 2, 1 + i % 2, 10 + number);
				frontend_receive(&f, i % 2);
				if (i % 7 == 0)
					frontend_enable(&f, 1, i % 2);
				if (i % 5 == 0)
					frontend_say(&f, VHOST_SET_VRING_CALL, &ring, 8, f.call);
			}
			if (life < 2 || rand_r(&seed) % 2)
				frontend_stop(&f);
		}
		frontend_leave(&f);
		assert_int_equal(vb_brick_destroy(brick), 0);
	}
	frontend_fini(&f);
	return NULL;
}

/* What was dropped, but for want of room: the restless ones send as they like. */
static uint64_t dropped(struct vb_brick *brick)
{
	struct vb_stats stats;
	uint64_t sum = 0;

	vb_brick_stats(brick, &stats);
	for (uint32_t i = 0; i < VB_DROPS; i++)
		sum += stats.drops[i];
	return sum - stats.drops[VB_DROP_RING_FULL];
}

/* Frames of one to the other, until one comes: the restless ones may fill the ring. */
static void exchange(struct frontend *from, struct frontend *to, uint8_t src, uint8_t dst)
{
	frontend_receive(to, 0);
	harness_wait((frontend_send(from, 0, dst, src), frontend_receive(to, 0) > 0));
}

static void others_come_and_go(void **state)
{
	struct vb_brick *quiet[2];
	struct frontend f[2];
	pthread_t threads[RESTLESS];
	char path[VB_PATH_MAX];

	(void)state;
	for (int i = 0; i < 2; i++) {
		quiet[i] = port(i ? "two" : "one", path);
		frontend_init(&f[i]);
		frontend_connect(&f[i], path);
		frontend_start(&f[i]);
		frontend_enable(&f[i], 1, false);
		frontend_ask(&f[i], VHOST_GET_QUEUE_NUM, NULL, 0);
	}
	for (uintptr_t i = 0; i < RESTLESS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, restless, (void *)i), 0);
	for (int i = 0; i < 3000; i++)
		exchange(&f[i % 2], &f[1 - i % 2], 1 + i % 2, 2 - i % 2);
	for (int i = 0; i < RESTLESS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(vb_vhost_fault(quiet[i]), "");
		assert_int_equal(dropped(quiet[i]), 0);
		frontend_fini(&f[i]);
		assert_int_equal(vb_brick_destroy(quiet[i]), 0);
	}
	harness_wait(harness_in_use() == 0);
}

/* Memory is replaced under running rings, as when it is plugged in. */
static void memory_changes_under_traffic(void **state)
{
	struct vhost_mem_table table = {.nb_regions = 1};
	struct vb_brick *bricks[2];
	struct frontend f[2];
	char path[VB_PATH_MAX];

	(void)state;
	for (int i = 0; i < 2; i++) {
		bricks[i] = port(i ? "two" : "one", path);
		frontend_init(&f[i]);
		frontend_connect(&f[i], path);
		frontend_start(&f[i]);
		frontend_enable(&f[i], 1, false);
		frontend_ask(&f[i], VHOST_GET_QUEUE_NUM, NULL, 0);
	}
	table.regions[0] = frontend_region();
	for (int i = 0; i < 500; i++) {
		frontend_say(&f[0], VHOST_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]),
			f[0].memory_fd);
		exchange(&f[0], &f[1], 1, 2);
		exchange(&f[1], &f[0], 2, 1);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(dropped(bricks[i]), 0);
		frontend_fini(&f[i]);
		assert_int_equal(vb_brick_destroy(bricks[i]), 0);
	}
}

static uint32_t count_events(enum vb_event_kind kind)
{
	struct vb_event events[256];
	uint32_t n, found = 0;

	while ((n = vb_events(events, 256)) > 0)
		for (uint32_t i = 0; i < n; i++)
			found += events[i].kind == kind;
	return found;
}

/* Ten starts a second and no more, but served in the end. */
static void starting_without_end(void **state)
{
	struct vb_brick *bricks[2];
	uint64_t began = rte_get_timer_cycles(), took_s;
	struct frontend f[2];
	char path[VB_PATH_MAX];

	(void)state;
	count_events(VB_EVENT_SESSION_RUNNING);
	for (int i = 0; i < 2; i++) {
		bricks[i] = port(i ? "two" : "one", path);
		frontend_init(&f[i]);
		frontend_connect(&f[i], path);
		frontend_start(&f[i]);
	}
	for (int i = 0; i < 100; i++) {
		frontend_stop(&f[0]);
		frontend_start(&f[0]);
	}
	took_s = (rte_get_timer_cycles() - began) / rte_get_timer_hz();
	assert_in_range(count_events(VB_EVENT_SESSION_RUNNING), 2, 11 + 10 * (took_s + 1));
	for (int i = 0; i < 2; i++)
		frontend_enable(&f[i], 1, false);
	exchange(&f[0], &f[1], 1, 2);
	exchange(&f[1], &f[0], 2, 1);
	for (int i = 0; i < 2; i++) {
		frontend_fini(&f[i]);
		assert_int_equal(vb_brick_destroy(bricks[i]), 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(others_come_and_go),
		T(memory_changes_under_traffic),
		T(starting_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
