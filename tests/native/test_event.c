/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <poll.h>

#include "core/event.h"

static bool readable(void)
{
	struct pollfd fd = {.fd = vb_event_fd(), .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static void comes_out_as_it_went_in(void **state)
{
	struct vb_event in = {.kind = VB_EVENT_FAULT, .session = 7, .brick = "vhost/p"}, out[2];

	(void)state;
	assert_int_equal(vb_event_init(), 0);
	assert_false(readable());
	vb_event_raise(&in);
	assert_true(readable());
	assert_int_equal(vb_events(out, 2), 1);
	assert_int_equal(out[0].kind, VB_EVENT_FAULT);
	assert_int_equal(out[0].session, 7);
	assert_string_equal(out[0].brick, "vhost/p");
	assert_true(out[0].time > 0);
	assert_false(readable());
	assert_int_equal(vb_events(out, 2), 0);
}

static void stays_readable_while_some_are_left(void **state)
{
	struct vb_event in = {.kind = VB_EVENT_SESSION_CONNECTED}, out[2];

	(void)state;
	assert_int_equal(vb_event_init(), 0);
	for (int i = 0; i < 3; i++)
		vb_event_raise(&in);
	assert_int_equal(vb_events(out, 2), 2);
	assert_true(readable());
	assert_int_equal(vb_events(out, 2), 1);
	assert_false(readable());
}

static void says_when_some_were_lost(void **state)
{
	struct vb_event in = {0}, out[64];
	uint32_t n, total = 0, lost = 0, last = 0;

	(void)state;
	assert_int_equal(vb_event_init(), 0);
	for (in.queues = 1; in.queues <= 5000; in.queues++)
		vb_event_raise(&in);
	while ((n = vb_events(out, 64)) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			if (out[i].kind == VB_EVENT_LOST) {
				assert_int_equal(total, 0); /* before the others */
				lost++;
				continue;
			}
			total++;
			last = out[i].queues;
		}
	}
	assert_int_equal(lost, 1);
	assert_int_equal(total, 4096);
	assert_int_equal(last, 5000); /* the newest are kept */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_out_as_it_went_in),
		cmocka_unit_test(stays_readable_while_some_are_left),
		cmocka_unit_test(says_when_some_were_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
