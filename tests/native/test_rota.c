/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is polled in a round.
 */
#include "core/rota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NB 150

static struct vb_rota rota;
static uint32_t polled[NB];

static int setup(void **state)
{
	(void)state;
	memset(&rota, 0, sizeof(rota));
	memset(polled, 0, sizeof(polled));
	rota.found = true;
	return 0;
}

/* Rounds of nb polls, of which one finds something; NB: one that is not among them. */
static void run(uint32_t rounds, uint32_t nb, uint32_t busy)
{
	for (; rounds > 0; rounds--) {
		for (uint32_t word = 0; word * 64 < nb; word++) {
			uint64_t due = vb_rota_due(&rota, word, nb);

			for (; due != 0; due &= due - 1) {
				uint32_t i = word * 64 + __builtin_ctzll(due);

				assert_in_range(i, 0, nb - 1);
				polled[i]++;
				vb_rota_note(&rota, i, i == busy);
			}
		}
		vb_rota_next(&rota, true);
	}
}

static void each_has_a_turn(void **state)
{
	static const uint32_t counts[] = {1, 63, 64, 65, NB};

	for (uint32_t c = 0; c < 5; c++) {
		setup(state);
		run(VB_ROTA_TURNS, counts[c], NB);
		for (uint32_t i = 0; i < NB; i++)
			assert_int_equal(polled[i], i < counts[c]);
	}
}

static void who_is_busy_is_polled_each_round(void **state)
{
	(void)state;
	run(VB_ROTA_TURNS, NB, 77);
	memset(polled, 0, sizeof(polled));
	run(10 * VB_ROTA_TURNS, NB, 77);
	for (uint32_t i = 0; i < NB; i++)
		assert_int_equal(polled[i], i == 77 ? 10 * VB_ROTA_TURNS : 10);
}

static void who_is_busy_no_more_is_idle_after_a_while(void **state)
{
	(void)state;
	run(VB_ROTA_TURNS, NB, 77);
	memset(polled, 0, sizeof(polled));
	run(VB_ROTA_EMPTY, NB, NB);
	assert_int_equal(polled[77], VB_ROTA_EMPTY);
	run(VB_ROTA_TURNS, NB, NB);
	memset(polled, 0, sizeof(polled));
	run(VB_ROTA_TURNS, NB, NB);
	assert_int_equal(polled[77], 1);
}

static void all_are_polled_after_nothing(void **state)
{
	(void)state;
	run(VB_ROTA_TURNS, NB, 77);
	memset(polled, 0, sizeof(polled));
	vb_rota_next(&rota, false);
	run(1, NB, 77);
	for (uint32_t i = 0; i < NB; i++)
		assert_int_equal(polled[i], 1);
}

static void more_than_there_are_bits_for(void **state)
{
	const uint32_t nb = VB_ROTA_WORDS * 64 + 10, last = nb - 1;
	uint32_t turns = 0;

	(void)state;
	for (uint32_t i = 0; i < VB_ROTA_TURNS; i++, vb_rota_next(&rota, true)) {
		uint64_t due = vb_rota_due(&rota, last / 64, nb);

		if ((due >> last % 64 & 1) == 0)
			continue;
		turns++;
		vb_rota_note(&rota, last, false);
	}
	assert_int_equal(turns, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_has_a_turn, setup),
		cmocka_unit_test_setup(who_is_busy_is_polled_each_round, setup),
		cmocka_unit_test_setup(who_is_busy_no_more_is_idle_after_a_while, setup),
		cmocka_unit_test_setup(all_are_polled_after_nothing, setup),
		cmocka_unit_test_setup(more_than_there_are_bits_for, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
