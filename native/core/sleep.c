/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see sleep.h.  What woke a worker is not looked at: it polls all
 * that it has.  An event that came while it did not sleep ends its next sleep at once,
 * which costs a round.
 */
#include "core/sleep.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LONGEST_MS 1000
#define EVENTS 64 /* that one wait takes away */

bool vb_sleepers[VB_WORKERS_MAX];

static struct {
	int epoll;
	int wake; /* ours; edge-triggered like all the others, and never read */
} sleepers[VB_WORKERS_MAX];

static uint32_t nb_sleepers;

int vb_sleep_init(uint32_t nb_workers)
{
	for (uint32_t i = 0; i < nb_workers; i++) {
		int ret;

		sleepers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		sleepers[i].wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (sleepers[i].epoll < 0 || sleepers[i].wake < 0)
			return -errno;
		ret = vb_sleep_watch(i, sleepers[i].wake);
		if (ret != 0)
			return ret;
	}
	nb_sleepers = nb_workers;
	return 0;
}

int vb_sleep_watch(uint32_t worker, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(sleepers[worker].epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void vb_sleep_unwatch(uint32_t worker, int fd)
{
	epoll_ctl(sleepers[worker].epoll, EPOLL_CTL_DEL, fd, NULL);
}

void vb_sleep_interrupt(uint32_t worker)
{
	const uint64_t one = 1;

	if (__atomic_exchange_n(&vb_sleepers[worker], false, __ATOMIC_SEQ_CST))
		(void)!write(sleepers[worker].wake, &one, sizeof(one));
}

void vb_sleep_wake_all(void)
{
	for (uint32_t i = 0; i < nb_sleepers; i++)
		vb_sleep_wake(i);
}

void vb_sleep_begin(uint32_t worker)
{
	__atomic_store_n(&vb_sleepers[worker], true, __ATOMIC_RELAXED);
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void vb_sleep_wait(uint32_t worker)
{
	struct epoll_event events[EVENTS];

	(void)epoll_wait(sleepers[worker].epoll, events, EVENTS, LONGEST_MS);
}

void vb_sleep_end(uint32_t worker)
{
	__atomic_store_n(&vb_sleepers[worker], false, __ATOMIC_RELAXED);
}
