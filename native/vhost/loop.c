/* SPDX-License-Identifier: Apache-2.0
 *
 * The vhost thread; see loop.h.
 */
#include "vhost/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/alive.h"
#include "core/clock.h"
#include "core/runtime.h"
#include "core/watchdog.h"

#define MS 1000000ULL

static struct {
	pthread_mutex_t turn; /* who wants the lock next: a mutex alone is not fair */
	pthread_mutex_t lock;
	pthread_t thread;
	bool running;
	int epoll;
	struct vhost_source wake;
	struct vhost_timer *timers;
	struct vb_pulse pulse;
} loop = {
	.turn = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.epoll = -1,
};

void vhost_loop_lock(void)
{
	pthread_mutex_lock(&loop.turn);
	pthread_mutex_lock(&loop.lock);
	pthread_mutex_unlock(&loop.turn);
}

void vhost_loop_unlock(void)
{
	pthread_mutex_unlock(&loop.lock);
}

/* ---- the thread ---- */

/* Milliseconds until the next timer is due, rounded up; -1: there is none. */
static int until_next(uint64_t now)
{
	uint64_t soonest = UINT64_MAX;

	for (struct vhost_timer *t = loop.timers; t != NULL; t = t->next)
		soonest = t->due < soonest ? t->due : soonest;
	if (soonest == UINT64_MAX)
		return -1;
	return soonest <= now ? 0 : (int)((soonest - now + MS - 1) / MS);
}

/* One timer that is due; false: none is. */
static bool expire_one(uint64_t now)
{
	for (struct vhost_timer *t = loop.timers; t != NULL; t = t->next) {
		if (t->due > now)
			continue;
		vhost_timer_clear(t);
		t->expired(t);
		return true;
	}
	return false;
}

/* All timers that are due, and one event: an event that was told to us before we had
 * the lock may be about a source that is no more.
 */
static int turn(void)
{
	uint64_t now = vb_monotonic_ns();
	struct epoll_event event;

	while (expire_one(now))
		;
	if (epoll_wait(loop.epoll, &event, 1, 0) == 1) {
		struct vhost_source *source = event.data.ptr;

		source->ready(source);
	}
	return until_next(vb_monotonic_ns());
}

static void *loop_main(void *arg)
{
	struct pollfd any = {.fd = loop.epoll, .events = POLLIN};

	vb_alive_hold();
	vb_pulse_start(&loop.pulse, "the vhost thread");
	for (;;) {
		int timeout_ms;

		/* Who has the lock and hangs stops this thread, too. */
		vb_pulse_work(&loop.pulse);
		vhost_loop_lock();
		timeout_ms = turn();
		vhost_loop_unlock();
		vb_pulse_idle(&loop.pulse);
		(void)poll(&any, 1, timeout_ms);
	}
	return arg;
}

static void woken(struct vhost_source *self)
{
	uint64_t value;

	(void)!read(self->fd, &value, sizeof(value));
}

/* Lock held. */
static int start(void)
{
	int ret;

	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop.epoll < 0)
		return -errno;
	loop.wake = (struct vhost_source){
		.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .ready = woken};
	ret = loop.wake.fd < 0 ? -errno : vhost_loop_watch(&loop.wake);
	return ret != 0 ? ret : vb_thread_start(&loop.thread, "vb-vhost", loop_main, NULL);
}

int vhost_loop_start(void)
{
	int ret = 0;

	vhost_loop_lock();
	if (!loop.running)
		ret = start();
	loop.running = ret == 0;
	vhost_loop_unlock();
	return ret;
}

/* ---- what it serves ---- */

int vhost_loop_watch(struct vhost_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(loop.epoll, EPOLL_CTL_ADD, source->fd, &event) == 0 ? 0 : -errno;
}

void vhost_loop_unwatch(struct vhost_source *source)
{
	(void)epoll_ctl(loop.epoll, EPOLL_CTL_DEL, source->fd, NULL);
}

void vhost_timer_set(struct vhost_timer *timer, uint64_t due)
{
	uint64_t one = 1;

	vhost_timer_clear(timer);
	timer->due = due;
	timer->next = loop.timers;
	timer->pprev = &loop.timers;
	if (timer->next != NULL)
		timer->next->pprev = &timer->next;
	loop.timers = timer;
	if (!pthread_equal(pthread_self(), loop.thread))
		(void)!write(loop.wake.fd, &one, sizeof(one));
}

void vhost_timer_clear(struct vhost_timer *timer)
{
	if (timer->pprev == NULL)
		return;
	*timer->pprev = timer->next;
	if (timer->next != NULL)
		timer->next->pprev = timer->pprev;
	timer->pprev = NULL;
}
