/* SPDX-License-Identifier: Apache-2.0
 *
 * Queue pairs and two workers: each has as much to poll as the other one, also when ports
 * go, and a pair that changes hands under traffic loses nothing.  That never both have it
 * is what the thread sanitizer sees.
 */
#include "harness.h"

#include <rte_cycles.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "core/balance.h"
#include "frontend.h"
#include "network.h"

#define PORTS 4
#define ROUNDS 10
#define SOON_MS 500

static struct guest {
	struct vb_brick *brick;
	struct frontend f;
	uint64_t sent;
} guests[PORTS];

static void plug(struct guest *g)
{
	struct vb_vhost_config config = {
		.features = vb_vhost_features(), .queues = FRONTEND_QUEUES, .mtu = 1500};
	char name[32];

	snprintf(name, sizeof(name), "vhost/%td", g - guests);
	snprintf(config.path, sizeof(config.path), "%s/%td", network_dir, g - guests);
	assert_int_equal(vb_vhost_create(name, &config, network_guard, &g->brick), 0);
	frontend_init(&g->f);
	frontend_connect(&g->f, config.path);
	frontend_start(&g->f);
	frontend_enable(&g->f, 1, false);
	frontend_ask(&g->f, VHOST_GET_QUEUE_NUM, NULL, 0);
	g->sent = 0;
}

static void unplug(struct guest *g)
{
	frontend_fini(&g->f);
	assert_int_equal(vb_brick_destroy(g->brick), 0);
	g->brick = NULL;
}

static int setup(void **state)
{
	(void)state;
	network_start(2);
	for (int i = 0; i < PORTS; i++)
		plug(&guests[i]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < PORTS; i++)
		if (guests[i].brick != NULL)
			unplug(&guests[i]);
	assert_false(vb_balance_uneven());
	harness_wait(harness_in_use() == 0);
	return network_end();
}

static uint64_t taken_by(const struct guest *g, uint32_t worker)
{
	return vb_count_read(&g->brick->rows[worker].from_peer_packets);
}

static void send_one(struct guest *g, uint32_t pair)
{
	harness_wait(frontend_send(&g->f, pair, 99, 1 + (g - guests)));
	g->sent++;
}

static bool all_taken(const struct guest *g)
{
	return taken_by(g, 0) + taken_by(g, 1) == g->sent;
}

/* The worker that takes what a guest sends over a queue pair. */
static uint32_t worker_of(struct guest *g, uint32_t pair)
{
	uint64_t first = taken_by(g, 0);

	send_one(g, pair);
	harness_wait(all_taken(g));
	return taken_by(g, 0) > first ? 0 : 1;
}

static uint64_t now_ms(void)
{
	return rte_get_timer_cycles() * 1000 / rte_get_timer_hz();
}

/* Guests whose first pair is worker 0's. */
static uint32_t of_first_worker(void)
{
	uint32_t n = 0;

	for (int i = 0; i < PORTS; i++)
		if (guests[i].brick != NULL)
			n += worker_of(&guests[i], 0) == 0;
	return n;
}

static void ports_are_spread(void **state)
{
	(void)state;
	assert_int_equal(of_first_worker(), PORTS / 2);
}

static void pairs_of_a_port_are_spread(void **state)
{
	(void)state;
	frontend_enable(&guests[0].f, 1, true);
	frontend_ask(&guests[0].f, VHOST_GET_QUEUE_NUM, NULL, 0);
	assert_int_not_equal(worker_of(&guests[0], 0), worker_of(&guests[0], 1));
	/* What was its worker's stays so: the other one may still be at it. */
	for (int i = 0; i < 10; i++) {
		uint32_t worker = worker_of(&guests[0], 1);

		frontend_enable(&guests[0].f, 1, false);
		frontend_enable(&guests[0].f, 1, true);
		frontend_ask(&guests[0].f, VHOST_GET_QUEUE_NUM, NULL, 0);
		assert_int_equal(worker_of(&guests[0], 1), worker);
	}
}

/* All ports of one worker go: it gets one of the other's, while both are sent over. */
static void ports_change_hands(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		bool leaves[PORTS];
		uint64_t moved;

		for (int i = 0; i < PORTS; i++)
			leaves[i] = worker_of(&guests[i], 0) == round % 2u;
		for (int i = 0; i < PORTS; i++)
			if (leaves[i])
				unplug(&guests[i]);
		while (vb_balance_uneven())
			for (int i = 0; i < PORTS; i++)
				if (guests[i].brick != NULL)
					send_one(&guests[i], 0);
		moved = now_ms();
		assert_int_equal(of_first_worker(), 1);
		/* Sooner than a worker that sleeps would look by itself. */
		assert_in_range(now_ms() - moved, 0, SOON_MS);
		for (int i = 0; i < PORTS; i++)
			if (guests[i].brick == NULL)
				plug(&guests[i]);
		assert_int_equal(of_first_worker(), PORTS / 2);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ports_are_spread),
		T(pairs_of_a_port_are_spread),
		T(ports_change_hands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
