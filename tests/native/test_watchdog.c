/* SPDX-License-Identifier: Apache-2.0
 *
 * The watchdog, each time in a process of its own, because it ends it.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/runtime.h"
#include "core/watchdog.h"

#define LIMIT_MS 200
#define ONCE_MORE 30 /* ticks: half as long again as the limit */

struct child {
	pid_t pid;
	int said;    /* what it writes to stderr */
	int control; /* a byte lets it go on */
};

/* ---- in the child ---- */

static int go_on;

static void wait_for_word(void)
{
	char byte;

	while (read(go_on, &byte, 1) < 0 && errno == EINTR)
		;
}

static void wait_for_ticks(void)
{
	uint64_t end = vb_watchdog_ticks() + ONCE_MORE;

	while (vb_watchdog_ticks() < end)
		sched_yield();
}

/* A worker that waits for what never comes, as for a page of a file that cannot be read. */
static uint16_t block(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	(void)ctx;
	(void)node;
	(void)edge;
	wait_for_word();
	return 0;
}

static uint16_t spin(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	(void)node;
	(void)edge;
	for (volatile uint32_t forever = 1; forever;)
		(void)ctx;
	return 0;
}

static void take(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	(void)edge;
	vb_drop(vb_row(ctx, node->brick), VB_DROP_NO_PEER, pkts, n);
}

static const struct vb_brick_ops blocks = {
	.kind = "blocks", .polled = true, .pull = block, .push = take};
static const struct vb_brick_ops spins = {
	.kind = "spins", .polled = true, .pull = spin, .push = take};
static const struct vb_brick_ops quiet = {.kind = "quiet", .push = take};

static void hang_worker(const struct vb_brick_ops *ops)
{
	struct vb_brick *a = vb_brick_new(ops, ops->kind, NULL),
			*b = vb_brick_new(&quiet, "quiet", NULL);

	harness_start_watched(1, LIMIT_MS);
	vb_graph_add(a);
	vb_graph_add(b);
	join(a, b);
	for (;;)
		pause();
}

static void worker_blocks(void)
{
	hang_worker(&blocks);
}

static void worker_spins(void)
{
	hang_worker(&spins);
}

static struct vb_pulse pulse;

static void control_thread_hangs(void)
{
	harness_start_watched(1, LIMIT_MS);
	vb_pulse_start(&pulse, "the test's thread");
	vb_pulse_work(&pulse);
	wait_for_word();
}

/* Two pieces of work, of which each takes less than the limit. */
static void control_thread_waits_and_works(void)
{
	harness_start_watched(1, LIMIT_MS);
	vb_pulse_start(&pulse, "the test's thread");
	vb_pulse_work(&pulse);
	vb_pulse_idle(&pulse);
	wait_for_ticks();
	for (int i = 0; i < 4; i++) {
		uint64_t end = vb_watchdog_ticks() + ONCE_MORE / 3;

		vb_pulse_work(&pulse);
		while (vb_watchdog_ticks() < end)
			sched_yield();
	}
	vb_pulse_idle(&pulse);
}

/* The parent stops it meanwhile. */
static void is_stopped(void)
{
	harness_start_watched(1, LIMIT_MS);
	vb_pulse_start(&pulse, "the test's thread");
	vb_pulse_work(&pulse);
	(void)!write(STDERR_FILENO, "ready\n", 6);
	wait_for_word();
	vb_pulse_idle(&pulse);
	wait_for_ticks();
}

/* ---- in the parent ---- */

static struct child run(void (*what)(void))
{
	const struct rlimit no_core = {0, 0};
	int said[2], control[2];
	struct child child;

	assert_int_equal(pipe(said), 0);
	assert_int_equal(pipe(control), 0);
	fflush(NULL);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		dup2(said[1], STDERR_FILENO);
		close(said[0]);
		close(said[1]);
		close(control[1]);
		go_on = control[0];
		what();
		_exit(0);
	}
	close(said[1]);
	close(control[0]);
	child.said = said[0];
	child.control = control[1];
	return child;
}

/* Wait for its end; all that it said until then, or the first of it. */
static int end_of(struct child *child, char *said, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int status;

	while (len < size - 1 && (n = read(child->said, said + len, size - 1 - len)) > 0)
		len += n;
	said[len] = '\0';
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	close(child->said);
	close(child->control);
	return status;
}

static void assert_survives(struct child *child)
{
	char said[4096];
	int status = end_of(child, said, sizeof(said));

	if (status != 0)
		print_error("%s", said);
	assert_int_equal(status, 0);
}

static void assert_ended(void (*what)(void), const char *who, const char *how)
{
	struct child child = run(what);
	char said[4096];
	int status = end_of(&child, said, sizeof(said));

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(said, who));
	assert_non_null(strstr(said, how));
}

static void a_worker_that_blocks_ends_the_process(void **state)
{
	(void)state;
	assert_ended(
		worker_blocks, "watchdog: worker 0 has hung for 0.2 s", "blocked in the kernel");
}

static void a_worker_that_spins_ends_the_process(void **state)
{
	(void)state;
	assert_ended(worker_spins, "watchdog: worker 0 has hung for 0.2 s", "running");
}

static void a_control_thread_that_hangs_ends_the_process(void **state)
{
	(void)state;
	assert_ended(control_thread_hangs, "watchdog: the test's thread has hung for 0.2 s",
		"blocked in the kernel");
}

static void who_waits_or_goes_on_is_left_alone(void **state)
{
	struct child child = run(control_thread_waits_and_works);

	(void)state;
	assert_survives(&child);
}

static void a_process_that_was_stopped_goes_on(void **state)
{
	struct child child = run(is_stopped);
	char ready[8];
	int status;

	(void)state;
	assert_int_equal(read(child.said, ready, sizeof(ready)), 6);
	assert_int_equal(kill(child.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
	assert_true(WIFSTOPPED(status));
	/* This is no wait for something to happen: it is the time in question. */
	poll(NULL, 0, 4 * LIMIT_MS);
	assert_int_equal(kill(child.pid, SIGCONT), 0);
	assert_int_equal(write(child.control, "", 1), 1);
	assert_survives(&child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_that_blocks_ends_the_process),
		cmocka_unit_test(a_worker_that_spins_ends_the_process),
		cmocka_unit_test(a_control_thread_that_hangs_ends_the_process),
		cmocka_unit_test(who_waits_or_goes_on_is_left_alone),
		cmocka_unit_test(a_process_that_was_stopped_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
