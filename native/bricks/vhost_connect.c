/* SPDX-License-Identifier: Apache-2.0
 *
 * The connector: one thread that keeps every client-mode port connected.
 *
 * rte_vhost's own reconnect tries once a second; a guest would feel that.  Here
 * a port whose socket does not exist costs nothing: inotify on its directory
 * tells when it appears.  A socket that is there is tried at once, then ever
 * less often up to RETRY_MAX (QEMU may be dead and leave it behind), and more
 * slowly still for a frontend that keeps leaving before it is ready, because
 * such a one would otherwise reconnect hundreds of times a second.  Once a second
 * all waiting ports are looked at anyway, should inotify have nothing to watch.
 *
 * All driver calls for client-mode ports happen on this thread; ports are handed
 * over by their state, under the connector's lock, a leaf that is never held over
 * such a call.
 */
#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "core/clock.h"
#include "core/runtime.h"

#define MS 1000000ULL
#define RETRY_MIN (2 * MS)
#define RETRY_MAX (250 * MS)
#define UNREADY_MIN (20 * MS)
#define UNREADY_MAX (2000 * MS)
#define LOOK_AGAIN (1000 * MS)

static struct {
	pthread_mutex_t lock;
	pthread_cond_t removed;
	pthread_t thread;
	bool running;
	int wake;
	int inotify;
	struct vhost_port *ports;
} connector = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.removed = PTHREAD_COND_INITIALIZER,
};

static uint64_t backoff(uint64_t first, uint64_t most, uint32_t failures)
{
	uint64_t delay = failures < 16 ? first << failures : most;

	return delay < most ? delay : most;
}

static void wake(void)
{
	uint64_t one = 1;

	(void)!write(connector.wake, &one, sizeof(one));
}

static void watch_directory(struct vhost_port *port)
{
	char dir[VB_PATH_MAX];

	memcpy(dir, port->config.path, sizeof(dir));
	port->connect.watch = inotify_add_watch(
		connector.inotify, dirname(dir), IN_CREATE | IN_MOVED_TO | IN_ATTRIB);
}

/* What stands at the path: VB_FAULT_NONE if it can be tried, -ENOENT if nothing. */
static int look(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == EACCES ? VB_FAULT_DENIED : -ENOENT;
	if (!S_ISSOCK(st.st_mode))
		return VB_FAULT_NOT_A_SOCKET;
	return access(path, R_OK | W_OK) == 0 ? VB_FAULT_NONE : VB_FAULT_DENIED;
}

/* ---- the thread ---- */

/* Let go of the library's entry for the port; lock not held. */
static void unregister(struct vhost_port *port)
{
	if (port->connect.registered)
		vhost_driver_stop(port);
	port->connect.registered = false;
}

static bool has_session(struct vhost_port *port)
{
	bool has;

	pthread_mutex_lock(&vb_lock);
	has = port->sessions != NULL;
	pthread_mutex_unlock(&vb_lock);
	return has;
}

/* One try; lock not held.  Returns the state it leads to. */
static enum connect_state try_connect(struct vhost_port *port)
{
	int found, ret;

	unregister(port);
	found = look(port->config.path);
	if (found < 0)
		return CONNECT_WAITING;
	if (found != VB_FAULT_NONE) {
		vhost_fault(port, found);
		return CONNECT_TRYING;
	}
	ret = vhost_driver_start(port);
	port->connect.registered = ret == 0;
	if (ret == -ENOSPC)
		vhost_fault(port, VB_FAULT_OUT_OF_RESOURCES);
	/* The library hides it when it connects, but cannot make a device of it. */
	return ret == 0 && has_session(port) ? CONNECT_OPEN : CONNECT_TRYING;
}

/* Lock held; lets go of it meanwhile. */
static void work_on(struct vhost_port *port)
{
	struct vhost_connect *c = &port->connect;
	enum connect_state next;

	if (c->state == CONNECT_REMOVING) {
		pthread_mutex_unlock(&connector.lock);
		unregister(port);
		pthread_mutex_lock(&connector.lock);
		c->state = CONNECT_REMOVED;
		pthread_cond_broadcast(&connector.removed);
		return;
	}
	/* While the lock is let go only removal or a lost connection change the state. */
	c->state = CONNECT_OPEN;
	pthread_mutex_unlock(&connector.lock);
	next = try_connect(port);
	pthread_mutex_lock(&connector.lock);
	if (c->state != CONNECT_OPEN)
		return;
	c->state = next;
	if (next == CONNECT_TRYING)
		c->due = vb_monotonic_ns() + backoff(RETRY_MIN, RETRY_MAX, c->failures++);
	else if (next == CONNECT_WAITING)
		c->due = vb_monotonic_ns() + LOOK_AGAIN;
}

static bool is_due(const struct vhost_connect *c, uint64_t now)
{
	switch (c->state) {
	case CONNECT_REMOVING:
		return true;
	case CONNECT_CLOSED:
	case CONNECT_WAITING:
	case CONNECT_TRYING:
		return c->due <= now;
	default:
		return false;
	}
}

/* Lock held: the port to work on, or NULL and how long there is none. */
static struct vhost_port *next_due(int *timeout_ms)
{
	uint64_t now = vb_monotonic_ns(), soonest = now + LOOK_AGAIN;

	for (struct vhost_port *p = connector.ports; p != NULL; p = p->connect.next) {
		const struct vhost_connect *c = &p->connect;

		if (is_due(c, now))
			return p;
		if (c->state < CONNECT_OPEN || c->state == CONNECT_CLOSED)
			soonest = RTE_MIN(soonest, c->due);
	}
	*timeout_ms = (soonest - now + MS - 1) / MS;
	return NULL;
}

/* Lock held: a name appeared (or changed its rights) in a watched directory. */
static void appeared(const struct inotify_event *event)
{
	for (struct vhost_port *p = connector.ports; p != NULL; p = p->connect.next) {
		const char *name = strrchr(p->config.path, '/') + 1;
		struct vhost_connect *c = &p->connect;

		if (c->watch != event->wd || event->len == 0 || strcmp(name, event->name) != 0)
			continue;
		if (c->state == CONNECT_WAITING || c->state == CONNECT_TRYING) {
			c->failures = 0;
			c->due = 0;
		}
	}
}

static void read_inotify(void)
{
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t len = read(connector.inotify, buf, sizeof(buf));

	pthread_mutex_lock(&connector.lock);
	for (ssize_t at = 0; at < len;) {
		const struct inotify_event *event = (void *)(buf + at);

		appeared(event);
		at += sizeof(*event) + event->len;
	}
	pthread_mutex_unlock(&connector.lock);
}

static void *connector_main(void *arg)
{
	struct pollfd fds[] = {
		{.fd = connector.wake, .events = POLLIN},
		{.fd = connector.inotify, .events = POLLIN},
	};
	uint64_t value;

	for (;;) {
		struct vhost_port *port;
		int timeout_ms = 0;

		pthread_mutex_lock(&connector.lock);
		while ((port = next_due(&timeout_ms)) != NULL)
			work_on(port);
		pthread_mutex_unlock(&connector.lock);
		if (poll(fds, 2, timeout_ms) <= 0)
			continue;
		(void)!read(connector.wake, &value, sizeof(value));
		if (fds[1].revents != 0)
			read_inotify();
	}
	return arg;
}

/* ---- control, and rte_vhost's event thread ---- */

/* Lock held. */
static int connector_start(void)
{
	int ret;

	if (connector.running)
		return 0;
	connector.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	connector.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (connector.wake < 0 || connector.inotify < 0)
		return -errno;
	ret = vb_thread_start(&connector.thread, "vb-connect", connector_main, NULL);
	connector.running = ret == 0;
	return ret;
}

int vhost_connect_add(struct vhost_port *port)
{
	int ret;

	pthread_mutex_lock(&connector.lock);
	ret = connector_start();
	if (ret == 0) {
		port->connect = (struct vhost_connect){
			.state = CONNECT_TRYING,
			.next = connector.ports,
		};
		watch_directory(port);
		connector.ports = port;
		wake();
	} else {
		port->connect.state = CONNECT_REMOVED;
	}
	pthread_mutex_unlock(&connector.lock);
	return ret;
}

/* Lock held: unwatch the directory of a port unless another one needs it. */
static void unwatch_directory(const struct vhost_port *port)
{
	for (struct vhost_port *p = connector.ports; p != NULL; p = p->connect.next)
		if (p->connect.watch == port->connect.watch)
			return;
	inotify_rm_watch(connector.inotify, port->connect.watch);
}

void vhost_connect_remove(struct vhost_port *port)
{
	struct vhost_port **p = &connector.ports;

	pthread_mutex_lock(&connector.lock);
	if (port->connect.state != CONNECT_REMOVED) {
		port->connect.state = CONNECT_REMOVING;
		wake();
	}
	while (port->connect.state != CONNECT_REMOVED)
		pthread_cond_wait(&connector.removed, &connector.lock);
	while (*p != NULL && *p != port)
		p = &(*p)->connect.next;
	if (*p == port) {
		*p = port->connect.next;
		if (port->connect.watch >= 0)
			unwatch_directory(port);
	}
	pthread_mutex_unlock(&connector.lock);
}

void vhost_connect_lost(struct vhost_port *port, bool ready)
{
	struct vhost_connect *c = &port->connect;

	pthread_mutex_lock(&connector.lock);
	if (c->state == CONNECT_OPEN) {
		c->state = CONNECT_CLOSED;
		c->failures = 0;
		c->due = ready ? 0
			       : vb_monotonic_ns() +
					 backoff(UNREADY_MIN, UNREADY_MAX, port->unready);
		wake();
	}
	pthread_mutex_unlock(&connector.lock);
}
