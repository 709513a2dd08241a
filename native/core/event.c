/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see event.h.
 */
#include "core/event.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"

#define NB_EVENTS 4096

static struct {
	pthread_mutex_t lock;
	int fd;
	uint32_t first, count;
	bool lost;
	struct vb_event events[NB_EVENTS];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

int vb_event_init(void)
{
	if (queue.fd < 0)
		queue.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return queue.fd < 0 ? -errno : 0;
}

int vb_event_fd(void)
{
	return queue.fd;
}

void vb_event_raise(struct vb_event *event)
{
	uint64_t one = 1;

	event->time = vb_wall_ns();
	pthread_mutex_lock(&queue.lock);
	if (queue.count == NB_EVENTS) {
		queue.first = (queue.first + 1) % NB_EVENTS;
		queue.count--;
		queue.lost = true;
	}
	queue.events[(queue.first + queue.count++) % NB_EVENTS] = *event;
	pthread_mutex_unlock(&queue.lock);
	/* Cannot fail but by overflow, and then it is readable already. */
	(void)!write(queue.fd, &one, sizeof(one));
}

static uint32_t take(struct vb_event *out, uint32_t max)
{
	uint32_t n = 0;

	if (queue.lost && max > 0) {
		memset(&out[n], 0, sizeof(out[n]));
		out[n].time = vb_wall_ns();
		out[n++].kind = VB_EVENT_LOST;
		queue.lost = false;
	}
	while (n < max && queue.count > 0) {
		out[n++] = queue.events[queue.first];
		queue.first = (queue.first + 1) % NB_EVENTS;
		queue.count--;
	}
	return n;
}

uint32_t vb_events(struct vb_event *out, uint32_t max)
{
	uint64_t value;
	uint32_t n;

	/* Reset before looking, so that an event raised meanwhile wakes again. */
	(void)!read(queue.fd, &value, sizeof(value));
	pthread_mutex_lock(&queue.lock);
	n = take(out, max);
	value = queue.count > 0;
	pthread_mutex_unlock(&queue.lock);
	if (value)
		(void)!write(queue.fd, &value, sizeof(value));
	return n;
}
