/* SPDX-License-Identifier: Apache-2.0
 *
 * Client-mode ports: connected, and connected again, whatever QEMU does.
 *
 * A port whose socket does not exist costs nothing: inotify on its directory tells when
 * it appears.  A socket that is there is tried at once, then ever less often up to
 * RETRY_MAX (QEMU may be dead and leave it behind), and more slowly still for a
 * frontend that keeps leaving before it is ready, because such a one would otherwise
 * reconnect hundreds of times a second.  Once a second all waiting ports are looked at
 * anyway, should inotify have nothing to watch.
 */
#include <errno.h>
#include <libgen.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "core/clock.h"

#define MS 1000000ULL
#define RETRY_MIN (2 * MS)
#define RETRY_MAX (250 * MS)
#define UNREADY_MIN (20 * MS)
#define UNREADY_MAX (2000 * MS)
#define LOOK_AGAIN (1000 * MS)

static struct vhost_source inotify = {.fd = -1};

static uint64_t backoff(uint64_t first, uint64_t most, uint32_t failures)
{
	uint64_t delay = failures < 16 ? first << failures : most;

	return delay < most ? delay : most;
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

/* A connected socket, or -errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* End a fault that look() found: whoever mended it need not wait for a frontend to know. */
static void path_is_well(struct vhost_port *port)
{
	uint32_t fault = __atomic_load_n(&port->fault, __ATOMIC_RELAXED);

	if (fault == VB_FAULT_NOT_A_SOCKET || fault == VB_FAULT_DENIED)
		vhost_fault(port, VB_FAULT_NONE);
}

/* One try.  Returns the state it leads to. */
static enum connect_state try_connect(struct vhost_port *port)
{
	int found = look(port->config.path), fd;

	if (found > VB_FAULT_NONE) {
		vhost_fault(port, found);
		return CONNECT_TRYING;
	}
	path_is_well(port);
	if (found < 0)
		return CONNECT_WAITING;
	fd = connect_to(port->config.path);
	if (fd == -EMFILE || fd == -ENFILE)
		vhost_fault(port, VB_FAULT_OUT_OF_RESOURCES);
	/* Before the session: it may be closed before this returns. */
	port->connect.state = CONNECT_OPEN;
	return fd >= 0 && vhost_session_open(port, fd) ? port->connect.state : CONNECT_TRYING;
}

static void try_again(struct vhost_timer *self)
{
	struct vhost_port *port = RTE_PTR_SUB(self, offsetof(struct vhost_port, timer));
	struct vhost_connect *c = &port->connect;

	c->state = try_connect(port);
	if (c->state == CONNECT_TRYING)
		vhost_timer_set(
			self, vb_monotonic_ns() + backoff(RETRY_MIN, RETRY_MAX, c->failures++));
	else if (c->state == CONNECT_WAITING)
		vhost_timer_set(self, vb_monotonic_ns() + LOOK_AGAIN);
}

void vhost_connect_lost(struct vhost_port *port, bool ready)
{
	port->connect.state = CONNECT_TRYING;
	port->connect.failures = 0;
	vhost_timer_set(&port->timer,
		vb_monotonic_ns() +
			(ready ? 0 : backoff(UNREADY_MIN, UNREADY_MAX, port->unready)));
}

/* ---- inotify ---- */

/* A name appeared (or changed its rights) in a watched directory. */
static void appeared(const struct inotify_event *event)
{
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next) {
		const char *name = strrchr(p->config.path, '/');

		if (p->connect.watch != event->wd || event->len == 0 || name == NULL ||
			strcmp(name + 1, event->name) != 0 || p->connect.state == CONNECT_OPEN)
			continue;
		p->connect.failures = 0;
		vhost_timer_set(&p->timer, 0);
	}
}

static void inotify_ready(struct vhost_source *self)
{
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t len = read(self->fd, buf, sizeof(buf));

	for (ssize_t at = 0; at < len;) {
		const struct inotify_event *event = (void *)(buf + at);

		appeared(event);
		at += sizeof(*event) + event->len;
	}
}

static int inotify_start(void)
{
	if (inotify.fd >= 0)
		return 0;
	inotify = (struct vhost_source){
		.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC),
		.ready = inotify_ready,
	};
	return inotify.fd >= 0 ? vhost_loop_watch(&inotify) : -errno;
}

static void watch_directory(struct vhost_port *port)
{
	char dir[VB_PATH_MAX];

	memcpy(dir, port->config.path, sizeof(dir));
	port->connect.watch =
		inotify_add_watch(inotify.fd, dirname(dir), IN_CREATE | IN_MOVED_TO | IN_ATTRIB);
}

/* Unwatch the directory of a port unless another one needs it. */
static void unwatch_directory(const struct vhost_port *port)
{
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next)
		if (p != port && p->connect.watch == port->connect.watch)
			return;
	inotify_rm_watch(inotify.fd, port->connect.watch);
}

int vhost_connect_add(struct vhost_port *port)
{
	int ret = inotify_start();

	if (ret != 0)
		return ret;
	watch_directory(port);
	port->timer.expired = try_again;
	if (port->sessions == NULL)
		try_again(&port->timer);
	else
		port->connect.state = CONNECT_OPEN;
	return 0;
}

void vhost_connect_remove(struct vhost_port *port)
{
	if (port->connect.watch >= 0)
		unwatch_directory(port);
	port->connect.watch = -1;
}
