/* SPDX-License-Identifier: Apache-2.0
 *
 * The standby: keeps copies of the serving process's sessions (vhost_note.h), and makes
 * them its own when that process is dead.
 *
 * A copy is a struct vhost_session whose device follows and which is no port's; the
 * port, which the daemon has made by then, is found by its path.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "bricks/vhost_note.h"
#include "core/alive.h"
#include "core/clock.h"
#include "core/runtime.h"
#include "vhost/foreign.h"

/* What is known of a session, or (s NULL) of a socket that listens. */
struct copy {
	struct copy *next;
	struct vhost_session *s;
	uint64_t number; /* with the serving process */
	uint32_t slot;	 /* the same */
	int listener;
	char path[VB_PATH_MAX];
};

static struct {
	bool taken_over;
	struct vhost_source leader; /* fd -1: nobody is followed */
	bool in_sync;
	const struct vhost_shared *page;
	bool awaits; /* its end, which ended tells of */
	int ended;
	struct copy *copies;
	uint32_t nb_sessions;
} follow = {.leader.fd = -1, .ended = -1};

bool vhost_stands_by(void)
{
	return vb_standby && !follow.taken_over;
}

/* ---- copies ---- */

static void copy_free(struct copy *c)
{
	if (c->s != NULL)
		vhost_session_free(c->s);
	else
		close(c->listener);
	free(c);
}

static void unlink_copy(struct copy **p)
{
	struct copy *c = *p;

	*p = c->next;
	if (c->s != NULL)
		follow.nb_sessions--;
}

static struct copy **find_session(uint64_t number)
{
	struct copy **p = &follow.copies;

	while (*p != NULL && ((*p)->s == NULL || (*p)->number != number))
		p = &(*p)->next;
	return p;
}

static void forget_session(uint64_t number)
{
	struct copy **p = find_session(number), *c = *p;

	if (c == NULL)
		return;
	unlink_copy(p);
	copy_free(c);
}

/* A port that is deleted and made again listens anew. */
static void forget_listener(const char *path)
{
	struct copy **p = &follow.copies;

	while (*p != NULL && ((*p)->s != NULL || strcmp((*p)->path, path) != 0))
		p = &(*p)->next;
	if (*p != NULL) {
		struct copy *c = *p;

		unlink_copy(p);
		copy_free(c);
	}
}

static void forget_page(void)
{
	if (follow.page != NULL)
		munmap((void *)(uintptr_t)follow.page, sizeof(*follow.page));
	follow.page = NULL;
}

static void forget_all(void)
{
	while (follow.copies != NULL) {
		struct copy *c = follow.copies;

		unlink_copy(&follow.copies);
		copy_free(c);
	}
	forget_page();
	follow.in_sync = false;
}

static bool add_copy(const struct vhost_note *note, struct vhost_session *s, int listener)
{
	struct copy *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return false;
	c->s = s;
	c->number = note->session;
	c->slot = note->slot;
	c->listener = listener;
	memcpy(c->path, note->path, sizeof(c->path));
	c->path[sizeof(c->path) - 1] = '\0';
	c->next = follow.copies;
	follow.copies = c;
	follow.nb_sessions += s != NULL;
	return true;
}

/* ---- notes: true if the fds were taken over ---- */

static bool take_page(int shared, int alive)
{
	struct vhost_shared *page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, shared, 0);

	forget_page();
	follow.page = page != MAP_FAILED ? page : NULL;
	/* One that is waited for has not ended, or it would be our turn. */
	if (!follow.awaits && follow.ended >= 0)
		follow.awaits = vb_alive_await(alive, follow.ended) == 0;
	close(shared);
	close(alive);
	return true;
}

static bool take_listener(const struct vhost_note *note, int fd)
{
	forget_listener(note->path);
	return add_copy(note, NULL, fd);
}

static bool take_session(const struct vhost_note *note, int fd)
{
	struct vhost_session *s;

	if (note->queues < 1 || note->queues > VB_QUEUES_MAX)
		return false;
	s = vhost_session_new(fd, note->offered, note->queues);
	if (s == NULL)
		return false;
	s->device.follows = true;
	if (!add_copy(note, s, -1))
		vhost_session_free(s);
	return true;
}

static bool take_message(struct vhost_note *note, const int *fds, uint32_t nb_fds)
{
	struct copy *c = *find_session(note->session);

	if (c == NULL || !vhost_message_check(&note->msg, nb_fds, c->s->device.nb_rings))
		return false;
	/* What is wrong with it the serving process finds, too, and says that it closed. */
	vhost_memory_note(c->s, &note->msg);
	(void)vhost_device_handle(&c->s->device, &note->msg, fds, nb_fds);
	return true;
}

static bool take(struct vhost_note *note, const int *fds, uint32_t nb_fds)
{
	note->path[sizeof(note->path) - 1] = '\0';
	switch (note->kind) {
	case VHOST_NOTE_PAGE:
		return nb_fds == 2 && take_page(fds[0], fds[1]);
	case VHOST_NOTE_LISTENS:
		return nb_fds == 1 && take_listener(note, fds[0]);
	case VHOST_NOTE_OPENED:
		return nb_fds == 1 && take_session(note, fds[0]);
	case VHOST_NOTE_MESSAGE:
		return take_message(note, fds, nb_fds);
	case VHOST_NOTE_CLOSED:
		forget_session(note->session);
		return false;
	case VHOST_NOTE_SYNCED:
		follow.in_sync = follow.page != NULL;
		return false;
	default:
		return false;
	}
}

static uint32_t fds_of(struct msghdr *hdr, int *fds)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(hdr);
	uint32_t n;

	if (h == NULL || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(h), n * sizeof(int));
	return n;
}

/* The socket is closed when the serving process dies: what we know then is what counts. */
static void stop_listening(void)
{
	vhost_loop_unwatch(&follow.leader);
	close(follow.leader.fd);
	follow.leader.fd = -1;
}

/* One note; false: there is none now. */
static bool read_note(int fd)
{
	union {
		char buf[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct vhost_note note;
	struct iovec iov = {.iov_base = &note, .iov_len = sizeof(note)};
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fds[VHOST_FDS_MAX];
	uint32_t nb_fds;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		stop_listening();
		return false;
	}
	nb_fds = fds_of(&hdr, fds);
	if (n != sizeof(note) || note.version != VHOST_NOTE_VERSION ||
		(hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		/* Another language: know nothing rather than half. */
		follow.in_sync = false;
		stop_listening();
	} else if (take(&note, fds, nb_fds)) {
		return true;
	}
	for (uint32_t i = 0; i < nb_fds; i++)
		vhost_foreign_close(fds[i]);
	return follow.leader.fd >= 0;
}

static void leader_ready(struct vhost_source *self)
{
	while (self->fd >= 0 && read_note(self->fd))
		;
}

/* ---- take-over ---- */

static bool was_busy(const struct copy *c)
{
	return follow.page == NULL || c->slot >= VHOST_SLOTS ||
	       __atomic_load_n(&follow.page->busy[c->slot], __ATOMIC_ACQUIRE) != 0;
}

static bool fits(const struct vhost_port *port, const struct vhost_session *s)
{
	return port->config.features == s->device.offered &&
	       port->config.queues * 2 == s->device.nb_rings;
}

static bool adopt_session(struct copy *c, struct vhost_port *port)
{
	if (!fits(port, c->s) || was_busy(c))
		return false;
	if (c->s->device.memory != NULL)
		c->s->memory.due = 0;
	vhost_device_wake(&c->s->device);
	if (vhost_session_attach(c->s, port, VB_EVENT_SESSION_ADOPTED) != 0)
		return false;
	c->s = NULL;
	c->listener = -1;
	return true;
}

static void adopt(struct copy *c, struct vb_take_over *out)
{
	struct vhost_port *port = vhost_port_at(c->path);
	bool session = c->s != NULL;

	if (port != NULL && !session && !port->config.client) {
		(void)vhost_listen_adopt(port, c->listener);
		c->listener = -1;
	} else if (port != NULL && session && adopt_session(c, port)) {
		out->adopted++;
	} else {
		out->closed += session;
	}
	if (c->s == NULL && c->listener < 0)
		free(c);
	else
		copy_free(c);
}

/* A port that nothing was adopted for begins as after a start. */
static void start_port(struct vhost_port *port)
{
	int ret = 0;

	if (port->config.client) {
		ret = vhost_connect_add(port);
	} else if (!port->listen.open) {
		vhost_listen_clear(port->config.path);
		ret = vhost_listen_add(port);
	}
	if (ret != 0)
		vhost_fault(port, VB_FAULT_CANNOT_LISTEN);
}

static int take_over(struct vb_take_over *out)
{
	/* What it said last is still in the socket. */
	leader_ready(&follow.leader);
	follow.taken_over = true;
	while (follow.copies != NULL) {
		struct copy *c = follow.copies;

		unlink_copy(&follow.copies);
		adopt(c, out);
	}
	forget_all();
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next)
		start_port(p);
	/* Only now, or frames would be sent on to guests whose turn has not come. */
	return vb_runtime_take_over();
}

int vb_take_over(struct vb_take_over *out)
{
	int ret = vhost_loop_start();

	*out = (struct vb_take_over){0};
	if (ret != 0)
		return ret;
	vhost_loop_lock();
	ret = vhost_stands_by() ? take_over(out) : -EALREADY;
	vhost_loop_unlock();
	return ret;
}

int vb_ended_fd(void)
{
	if (follow.ended < 0)
		follow.ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return follow.ended >= 0 ? follow.ended : -errno;
}

int vb_follow(int fd)
{
	int ret = vhost_stands_by() ? vhost_loop_start() : -EALREADY;

	if (ret != 0) {
		close(fd);
		return ret;
	}
	vhost_loop_lock();
	if (follow.leader.fd >= 0)
		stop_listening();
	forget_all();
	follow.leader = (struct vhost_source){.fd = fd, .ready = leader_ready};
	ret = vhost_loop_watch(&follow.leader);
	if (ret != 0) {
		close(fd);
		follow.leader.fd = -1;
	}
	vhost_loop_unlock();
	return ret;
}

void vb_followed(struct vb_followed *out)
{
	uint64_t heartbeat, now = vb_monotonic_ns();

	vhost_loop_lock();
	*out = (struct vb_followed){
		.in_sync = follow.in_sync && follow.leader.fd >= 0,
		.sessions = follow.nb_sessions,
		.silence = -1,
	};
	if (follow.page != NULL && follow.leader.fd >= 0) {
		heartbeat = __atomic_load_n(&follow.page->heartbeat, __ATOMIC_RELAXED);
		out->silence = heartbeat < now ? (int64_t)(now - heartbeat) : 0;
	}
	vhost_loop_unlock();
}
