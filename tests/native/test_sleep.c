/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker that sleeps, and what wakes it: a frame that a guest kicks for, and all that
 * the control side changes.  It wakes by itself after a second, so what comes sooner did
 * not wait for that.
 */
#include "harness.h"

#include <poll.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/host.h"
#include "frontend.h"
#include "network.h"

#define ROUNDS 20000
#define SOON_MS 900
#define TX 1 /* the transmit ring of the first queue pair */

static struct vb_brick *bricks[2];
static struct frontend f[2];

static void start_guest(int i)
{
	struct vb_vhost_config config = {
		.features = vb_vhost_features(), .queues = FRONTEND_QUEUES, .mtu = 1500};

	snprintf(config.path, sizeof(config.path), "%s/%d", network_dir, i);
	assert_int_equal(
		vb_vhost_create(i ? "vhost/1" : "vhost/0", &config, network_guard, &bricks[i]), 0);
	frontend_init(&f[i]);
	frontend_connect(&f[i], config.path);
	frontend_start(&f[i]);
	frontend_enable(&f[i], 1, false);
	frontend_ask(&f[i], VHOST_GET_QUEUE_NUM, NULL, 0);
}

static int setup(void **state)
{
	(void)state;
	network_start(1);
	for (int i = 0; i < 2; i++)
		start_guest(i);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		frontend_fini(&f[i]);
		assert_int_equal(vb_brick_destroy(bricks[i]), 0);
	}
	harness_wait(harness_in_use() == 0);
	return network_end();
}

static struct vb_worker_stats worker(void)
{
	struct vb_worker_stats stats;

	assert_int_equal(vb_worker_stats(0, &stats), 0);
	return stats;
}

/* The worker sleeps, or is about to. */
static void wait_for_sleep(void)
{
	harness_wait(frontend_is_to_kick(&f[1], TX));
}

static uint64_t now_ms(void)
{
	return rte_get_timer_cycles() * 1000 / rte_get_timer_hz();
}

/* The frame that was sent to guest "to" comes, and soon. */
static void expect_frame(int to)
{
	uint64_t began = now_ms();

	harness_wait(frontend_receive(&f[to], 0) > 0);
	assert_in_range(now_ms() - began, 0, SOON_MS);
}

static void pass(int from)
{
	assert_true(frontend_send(&f[from], 0, 2 - from, 1 + from));
	expect_frame(1 - from);
}

/* Awake and asleep again for most frames: whoever is missed once waits for a second. */
static void no_frame_is_missed(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		/* At another moment of the worker's way to sleep each time. */
		if (i % 4 == 0)
			wait_for_sleep();
		for (volatile int spin = 0; spin < i % 1000 * 30;)
			spin++;
		pass(i % 2);
	}
}

/* Not even signals disturb it: there is a timer of two milliseconds. */
static void a_sleeper_does_nothing(void **state)
{
	uint64_t polls;

	(void)state;
	wait_for_sleep();
	harness_wait(frontend_is_to_kick(&f[0], TX));
	polls = worker().polls;
	/* This is no wait for something to happen: it is the time in question. */
	poll(NULL, 0, 500);
	assert_in_range(worker().polls - polls, 0, 4);
	pass(0);
}

/* A frame in a ring that is disabled waits, and nobody kicks for it again. */
static void an_enabled_ring_is_polled(void **state)
{
	(void)state;
	frontend_enable(&f[0], 0, false);
	frontend_ask(&f[0], VHOST_GET_QUEUE_NUM, NULL, 0);
	assert_true(frontend_send(&f[0], 0, 2, 1));
	for (uint64_t sleeps = worker().sleeps; worker().sleeps < sleeps + 2;)
		frontend_kick(&f[0]);
	assert_int_equal(frontend_used(&f[0], TX), 0);
	frontend_enable(&f[0], 0, true);
	expect_frame(1);
}

/* As after a restart: frames are there, and a driver that polls never kicks. */
static void a_ring_that_starts_is_polled(void **state)
{
	(void)state;
	frontend_stop(&f[0]);
	wait_for_sleep();
	assert_true(frontend_send(&f[0], 0, 2, 1));
	frontend_resume(&f[0]);
	expect_frame(1);
}

static void say_kick(uint64_t index, int fd)
{
	frontend_say(&f[0], VHOST_SET_VRING_KICK, &index, sizeof(index), fd);
	frontend_ask(&f[0], VHOST_GET_QUEUE_NUM, NULL, 0);
}

static void another_eventfd(void **state)
{
	int old = f[0].kick;

	(void)state;
	wait_for_sleep();
	f[0].kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	say_kick(TX, f[0].kick);
	for (int i = 0; i < 3; i++) {
		wait_for_sleep();
		pass(0);
	}
	/* The old one is still the other rings', which nobody listens to. */
	close(f[0].kick);
	f[0].kick = old;
}

/* One that polls its rings, and kicks for nothing: the worker does not sleep on it. */
static void a_frontend_without_eventfd(void **state)
{
	uint64_t sleeps;
	int kick = f[0].kick;

	(void)state;
	wait_for_sleep();
	f[0].kick = -1;
	say_kick(TX | VHOST_RING_NO_FD, -1);
	/* It is awake, and has told all drivers. */
	harness_wait(!frontend_is_to_kick(&f[0], TX) && !frontend_is_to_kick(&f[1], TX));
	sleeps = worker().sleeps;
	for (int i = 0; i < 100; i++)
		pass(0);
	assert_int_equal(worker().sleeps, sleeps);
	say_kick(TX, kick);
	f[0].kick = kick;
	wait_for_sleep();
	pass(0);
}

/* ---- what is no guest ---- */

static struct vb_host_port host_port;
static uint64_t arrived;

static bool send_nothing(struct vb_host_port *port)
{
	(void)port;
	return false;
}

static void count(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	(void)edge;
	vb_drop(vb_row(ctx, node->brick), VB_DROP_NO_PEER, pkts, n);
	__atomic_fetch_add(&arrived, n, __ATOMIC_RELAXED);
}

static void host_fini(struct vb_brick *brick)
{
	vb_host_port_fini(brick->state);
}

static void nothing(struct vb_brick *brick)
{
	(void)brick;
}

static const struct vb_brick_ops host_ops = {
	.kind = "host",
	.polled = true,
	.pull = vb_host_pull,
	.can_wake = vb_host_can_wake,
	.arm = vb_host_arm,
	.push = vb_host_push,
	.quiesce = nothing,
	.fini = host_fini,
};

static const struct vb_brick_ops counter_ops = {.kind = "counter", .push = count, .fini = nothing};

/* What the test, in the host thread's place, has given comes, and soon. */
static void expect_given(uint64_t n)
{
	uint64_t began = now_ms();

	harness_wait(__atomic_load_n(&arrived, __ATOMIC_RELAXED) == n);
	assert_in_range(now_ms() - began, 0, SOON_MS);
}

static void the_host_thread_and_the_graph_wake(void **state)
{
	struct vb_brick *host = vb_brick_new(&host_ops, "host", &host_port),
			*counter = vb_brick_new(&counter_ops, "counter", NULL);

	(void)state;
	arrived = 0;
	vb_graph_add(host);
	vb_graph_add(counter);
	assert_int_equal(vb_host_port_init(&host_port, host, send_nothing), 0);
	pass(0);
	wait_for_sleep();
	/* It is there before its edge is. */
	vb_host_give(&host_port, harness_frame(1, 2, 60));
	wait_for_sleep();
	assert_int_equal(vb_host_port_start(&host_port, counter), 0);
	expect_given(1);
	for (uint64_t n = 2; n < 200; n++) {
		wait_for_sleep();
		vb_host_give(&host_port, harness_frame(1, 2, 60));
		expect_given(n);
	}
	vb_host_lock();
	vb_host_port_stop(&host_port);
	vb_host_unlock();
	assert_int_equal(vb_brick_destroy(host), 0);
	assert_int_equal(vb_brick_destroy(counter), 0);
}

/* ---- a guest that means no good ---- */

static bool enough;

static void *kick_without_end(void *arg)
{
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED))
		frontend_kick(arg);
	return NULL;
}

/* By an eventfd that blocks who reads it, too. */
static void kicks_without_end_harm_nobody(void **state)
{
	int kick = f[0].kick;
	pthread_t thread;

	(void)state;
	f[0].kick = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	say_kick(TX, f[0].kick);
	enough = false;
	assert_int_equal(pthread_create(&thread, NULL, kick_without_end, &f[0]), 0);
	for (int i = 0; i < 200; i++)
		pass(1);
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	wait_for_sleep();
	close(f[0].kick);
	f[0].kick = kick;
}

/* Nobody waits for a sleeper, and edges that went under it are not touched. */
static void graphs_change_under_a_sleeper(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		frontend_stop(&f[0]);
		wait_for_sleep();
		frontend_fini(&f[0]);
		assert_int_equal(vb_brick_destroy(bricks[0]), 0);
		start_guest(0);
	}
	wait_for_sleep();
	pass(0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(no_frame_is_missed),
		T(a_sleeper_does_nothing),
		T(an_enabled_ring_is_polled),
		T(a_ring_that_starts_is_polled),
		T(another_eventfd),
		T(a_frontend_without_eventfd),
		T(the_host_thread_and_the_graph_wake),
		T(kicks_without_end_harm_nobody),
		T(graphs_change_under_a_sleeper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
