/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-mode ports: a socket that listens, and who may come in by it.
 *
 * A port takes so many connections at once and so many a second; the others wait in
 * the kernel's queue, so that one who connects without end keeps nobody busy but
 * itself.  A connection's process may have to be a certain user's (SO_PEERCRED).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "core/clock.h"
#include "core/runtime.h"

#define MS 1000000ULL
#define BACKLOG 128
#define BURST 128     /* connections at once: all frontends of a port, and again */
#define PER_SECOND 20 /* afterwards */
#define PAUSE (100 * MS)

bool vhost_peer_of(int fd, int32_t *pid, uint32_t *uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return false;
	*pid = peer.pid;
	*uid = peer.uid;
	return true;
}

bool vhost_peer_allowed(int fd)
{
	uint32_t uid;
	int32_t pid;

	if (vb_nb_peer_uids == 0)
		return true;
	if (!vhost_peer_of(fd, &pid, &uid))
		return false;
	for (uint32_t i = 0; i < vb_nb_peer_uids; i++)
		if (vb_peer_uids[i] == uid)
			return true;
	return false;
}

/* ---- the rate ---- */

static void fill(struct vhost_listen *l, uint64_t now)
{
	double fresh = (now - l->filled) * (PER_SECOND / 1e9);

	l->tokens = RTE_MIN(l->tokens + fresh, (double)BURST);
	l->filled = now;
}

static void clear_flood(struct vhost_port *port)
{
	if (__atomic_load_n(&port->fault, __ATOMIC_RELAXED) == VB_FAULT_CONNECTION_FLOOD)
		vhost_fault(port, VB_FAULT_NONE);
}

/* Take no connection for a while. */
static void pause_port(struct vhost_port *port, enum vb_fault why)
{
	vhost_fault(port, why);
	vhost_loop_unwatch(&port->listen.source);
	port->listen.watched = false;
	vhost_timer_set(&port->timer, vb_monotonic_ns() + PAUSE);
}

/* The pause is over; and now and then, whether a flood has ebbed away. */
static void look_again(struct vhost_timer *self)
{
	struct vhost_port *port = RTE_PTR_SUB(self, offsetof(struct vhost_port, timer));
	struct vhost_listen *l = &port->listen;

	fill(l, vb_monotonic_ns());
	if (!l->watched)
		l->watched = vhost_loop_watch(&l->source) == 0;
	if (l->watched && l->tokens >= BURST / 4)
		clear_flood(port);
	else
		vhost_timer_set(self, vb_monotonic_ns() + PAUSE);
}

static void ready(struct vhost_source *source)
{
	struct vhost_port *port = RTE_PTR_SUB(source, offsetof(struct vhost_port, listen.source));
	struct vhost_listen *l = &port->listen;
	int fd;

	fill(l, vb_monotonic_ns());
	if (l->tokens < 1) {
		pause_port(port, VB_FAULT_CONNECTION_FLOOD);
		return;
	}
	fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) {
		l->tokens--;
		vhost_session_open(port, fd);
	} else if (errno != EAGAIN && errno != ECONNABORTED) {
		pause_port(port, VB_FAULT_OUT_OF_RESOURCES);
	}
}

/* ---- the socket ---- */

int vhost_listen_adopt(struct vhost_port *port, int fd)
{
	struct vhost_listen *l = &port->listen;
	int ret;

	*l = (struct vhost_listen){
		.source = {.fd = fd, .ready = ready},
		.tokens = BURST,
		.filled = vb_monotonic_ns(),
	};
	port->timer.expired = look_again;
	ret = vhost_loop_watch(&l->source);
	if (ret != 0) {
		close(fd);
		return ret;
	}
	l->open = l->watched = true;
	vhost_lead_listens(port);
	return 0;
}

void vhost_listen_clear(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 && errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

int vhost_listen_add(struct vhost_port *port)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, port->config.path, strlen(port->config.path));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	ret = listen(fd, BACKLOG) == 0 ? vhost_listen_adopt(port, fd) : -errno;
	if (ret != 0)
		unlink(port->config.path);
	return ret;
}

void vhost_listen_remove(struct vhost_port *port)
{
	struct vhost_listen *l = &port->listen;

	if (!l->open)
		return;
	if (l->watched)
		vhost_loop_unwatch(&l->source);
	close(l->source.fd);
	unlink(port->config.path);
	l->open = l->watched = false;
}
