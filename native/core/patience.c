/* SPDX-License-Identifier: Apache-2.0
 *
 * A timer that sends the thread an empty signal again and again: five hundred a second
 * take a thousandth of a core, where a timer for each call would take longer than most
 * calls.
 */
#define _GNU_SOURCE
#include "core/patience.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "core/nudge.h"

static __thread struct {
	bool made;
	timer_t timer;
	uint32_t depth;
} own;

static void make(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = VB_NUDGE};

	/* Not in every C library's headers by its name (timer_create(2)). */
	event._sigev_un._tid = gettid();
	vb_nudge_init();
	own.made = timer_create(CLOCK_MONOTONIC, &event, &own.timer) == 0;
}

static void set(long period_ns)
{
	const struct itimerspec every = {
		.it_interval.tv_nsec = period_ns, .it_value.tv_nsec = period_ns};

	if (own.made)
		timer_settime(own.timer, 0, &every, NULL);
}

void vb_patience_begin(void)
{
	if (own.depth++ > 0)
		return;
	if (!own.made)
		make();
	set(VB_PATIENCE_NS);
}

void vb_patience_end(void)
{
	if (--own.depth == 0)
		set(0);
}
