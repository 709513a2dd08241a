/* SPDX-License-Identifier: Apache-2.0
 *
 * How far two cores are from each other: the nanoseconds that a cache line takes from one
 * to the other and back, at best.
 *
 *   distance CORE CORE
 *
 * In a virtual machine it changes while one looks on, as the host moves virtual cores
 * about: two that share a cache are several times nearer than others, and whatever goes
 * through rings in shared memory is as much cheaper.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIPS 100 /* that are timed together */
#define BATCHES 100
#define TIME_MAX_NS 300000000 /* if others have the cores */

static uint32_t ball __attribute__((aligned(128))); /* atomic; even: the first core's turn */

static void stay_on(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0) {
		perror("distance");
		exit(1);
	}
}

static void wait_for(uint32_t value)
{
	while (__atomic_load_n(&ball, __ATOMIC_ACQUIRE) != value)
		;
}

static void *answer(void *arg)
{
	stay_on(*(int *)arg);
	for (uint32_t i = 1;; i += 2) {
		wait_for(i);
		__atomic_store_n(&ball, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

int main(int argc, char **argv)
{
	uint64_t begin = now_ns();
	double best = 0;
	uint32_t next = 0;
	pthread_t thread;
	int other;

	if (argc != 3) {
		fprintf(stderr, "usage: distance CORE CORE\n");
		return 2;
	}
	stay_on(atoi(argv[1]));
	other = atoi(argv[2]);
	if (pthread_create(&thread, NULL, answer, &other) != 0)
		return 1;
	for (int n = 0; n < BATCHES && now_ns() - begin < TIME_MAX_NS; n++) {
		uint64_t start = now_ns();
		double each;

		for (int i = 0; i < TRIPS; i++, next += 2) {
			__atomic_store_n(&ball, next + 1, __ATOMIC_RELEASE);
			wait_for(next + 2);
		}
		each = (now_ns() - start) / (double)TRIPS;
		if (n == 0 || each < best)
			best = each;
	}
	printf("%.1f\n", best);
	return 0;
}
