/* SPDX-License-Identifier: Apache-2.0
 *
 * That a process has ended, as another one is told.
 */
#include "harness.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/alive.h"

#define LONG_MS 10000
#define SHORT_MS 100 /* nothing shall come */

struct child {
	pid_t pid;
	int says;    /* a byte when its thread has begun */
	int control; /* a byte lets its thread end */
};

static int say, go_on;

static void *hold_until_told(void *arg)
{
	char byte = 0;

	vb_alive_hold();
	(void)!write(say, &byte, 1);
	(void)!read(go_on, &byte, 1);
	return arg;
}

/* A process of two threads that are to be missed. */
static void child_main(void)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	vb_alive_hold();
	pthread_create(&thread, NULL, hold_until_told, NULL);
	pthread_join(thread, NULL);
	(void)!write(say, "", 1);
	for (;;)
		pause();
}

static void wait_for_byte(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 1);
}

static struct child start_child(void)
{
	int said[2], control[2];
	struct child c;

	assert_int_equal(vb_alive_init(), 0);
	assert_int_equal(pipe(said), 0);
	assert_int_equal(pipe(control), 0);
	say = said[1];
	go_on = control[0];
	c = (struct child){.pid = fork(), .says = said[0], .control = control[1]};
	if (c.pid == 0)
		child_main();
	wait_for_byte(c.says);
	return c;
}

static bool told(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

static void test_the_last_thread_counts(void **state)
{
	struct child c = start_child();
	int ended = eventfd(0, EFD_CLOEXEC);

	(void)state;
	assert_int_equal(vb_alive_await(vb_alive_fd(), ended), 0);
	assert_int_equal(write(c.control, "", 1), 1);
	wait_for_byte(c.says);
	assert_false(told(ended, SHORT_MS));
	kill(c.pid, SIGKILL);
	assert_true(told(ended, LONG_MS));
	waitpid(c.pid, NULL, 0);
}

static void test_who_holds_nothing_is_not_missed(void **state)
{
	int ended = eventfd(0, EFD_CLOEXEC);

	(void)state;
	assert_int_equal(vb_alive_init(), 0);
	assert_int_equal(vb_alive_await(vb_alive_fd(), ended), 0);
	assert_false(told(ended, SHORT_MS));
	assert_true(vb_alive_await(-1, ended) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* In this order: the holders of one stay. */
		cmocka_unit_test(test_who_holds_nothing_is_not_missed),
		cmocka_unit_test(test_the_last_thread_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
