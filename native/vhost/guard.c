/* SPDX-License-Identifier: Apache-2.0
 *
 * The SIGBUS handler; see guard.h.  It looks through a table that is written under a
 * lock and read without one.
 */
#include "vhost/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#define MAPS_MAX 16384

static struct guarded {
	uintptr_t start; /* atomic; 0: free */
	size_t len;	 /* written before start */
	bool lost;	 /* atomic */
} maps[MAPS_MAX];

static uint32_t maps_end; /* atomic: none is in use from here on */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;

static struct guarded *map_of(uintptr_t at)
{
	uint32_t end = __atomic_load_n(&maps_end, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < end; i++) {
		uintptr_t start = __atomic_load_n(&maps[i].start, __ATOMIC_ACQUIRE);

		if (start != 0 && at >= start && at - start < maps[i].len)
			return &maps[i];
	}
	return NULL;
}

/* mmap() is not on the list of what a handler may call, but is a bare system call. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
	struct guarded *m = map_of((uintptr_t)info->si_addr);

	if (m != NULL) {
		__atomic_store_n(&m->lost, true, __ATOMIC_RELAXED);
		if (mmap((void *)m->start, m->len, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			    0) != MAP_FAILED)
			return;
	}
	if ((before.sa_flags & SA_SIGINFO) != 0)
		before.sa_sigaction(number, info, context);
	else
		signal(number, SIG_DFL); /* The same again, and nobody catches it. */
}

void vhost_guard_start(void)
{
	const struct sigaction action = {
		.sa_sigaction = on_bus_error,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGBUS, &action, &before);
}

int vhost_guard_add(void *start, size_t len)
{
	int found = -ENOSPC;

	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < MAPS_MAX && found < 0; i++) {
		if (maps[i].start != 0)
			continue;
		maps[i].len = len;
		__atomic_store_n(&maps[i].lost, false, __ATOMIC_RELAXED);
		__atomic_store_n(&maps[i].start, (uintptr_t)start, __ATOMIC_RELEASE);
		if (i >= maps_end)
			__atomic_store_n(&maps_end, i + 1, __ATOMIC_RELEASE);
		found = (int)i;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

void vhost_guard_remove(int number)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&maps[number].start, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
}

bool vhost_guard_lost(int number)
{
	return __atomic_load_n(&maps[number].lost, __ATOMIC_RELAXED);
}
