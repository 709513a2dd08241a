/* SPDX-License-Identifier: Apache-2.0
 *
 * The serving process: tells the standby of all sessions (vhost_note.h), those that
 * there are when it comes and whatever happens from then on.
 *
 * Notes are sent before a message is handled, so the standby is never behind.  They are
 * sent with a time-out: a standby that does not read is let go of, and says so itself
 * by coming again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "bricks/vhost_note.h"
#include "core/alive.h"
#include "core/clock.h"
#include "core/graph.h"
#include "core/host.h"
#include "core/worker.h"
#include "probe/capture.h"

#define SEND_MAX_US 500000
#define SEND_BUFFER (4 << 20)

static struct {
	struct vhost_source standby; /* fd -1: there is none */
	bool in_sync;
	int page_fd;
	struct vhost_shared *page;
	uint64_t taken[VHOST_SLOTS / 64];
} lead = {.standby.fd = -1, .page_fd = -1};

/* ---- the shared page ---- */

static int page_make(void)
{
	if (lead.page != NULL)
		return 0;
	lead.page_fd = memfd_create("vhost-brick-sessions", MFD_CLOEXEC);
	if (lead.page_fd < 0 || ftruncate(lead.page_fd, sizeof(*lead.page)) != 0)
		return -errno;
	lead.page = mmap(
		NULL, sizeof(*lead.page), PROT_READ | PROT_WRITE, MAP_SHARED, lead.page_fd, 0);
	if (lead.page == MAP_FAILED) {
		lead.page = NULL;
		return -errno;
	}
	return 0;
}

uint32_t vhost_lead_slot_take(void)
{
	for (uint32_t i = 0; i < VHOST_SLOTS / 64; i++) {
		uint32_t bit;

		if (lead.taken[i] == UINT64_MAX)
			continue;
		bit = __builtin_ctzll(~lead.taken[i]);
		lead.taken[i] |= 1ULL << bit;
		return i * 64 + bit;
	}
	/* A session without a slot: the standby will close it. */
	return VHOST_SLOTS;
}

static void mark(uint32_t slot, uint8_t busy)
{
	if (lead.page != NULL && slot < VHOST_SLOTS)
		__atomic_store_n(&lead.page->busy[slot], busy, __ATOMIC_RELEASE);
}

void vhost_lead_slot_give(uint32_t slot)
{
	mark(slot, 0);
	if (slot < VHOST_SLOTS)
		lead.taken[slot / 64] &= ~(1ULL << slot % 64);
}

void vhost_lead_begin(const struct vhost_session *s)
{
	mark(s->slot, 1);
}

void vhost_lead_end(const struct vhost_session *s)
{
	mark(s->slot, 0);
}

void vhost_lead_heartbeat(uint64_t now)
{
	if (lead.page != NULL)
		__atomic_store_n(&lead.page->heartbeat, now, __ATOMIC_RELAXED);
}

/* ---- notes ---- */

static void let_go_of_standby(void)
{
	vhost_loop_unwatch(&lead.standby);
	close(lead.standby.fd);
	lead.standby.fd = -1;
	lead.in_sync = false;
}

/* It has nothing to say: readable means that it is gone. */
static void standby_gone(struct vhost_source *self)
{
	(void)self;
	let_go_of_standby();
}

static void note_send(struct vhost_note *note, const int *fds, uint32_t nb_fds)
{
	union {
		char buf[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = note, .iov_len = sizeof(*note)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	if (lead.standby.fd < 0)
		return;
	note->version = VHOST_NOTE_VERSION;
	if (nb_fds > 0) {
		struct cmsghdr *h = &control.align;

		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(nb_fds * sizeof(int));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(nb_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, nb_fds * sizeof(int));
	}
	if (sendmsg(lead.standby.fd, &hdr, MSG_NOSIGNAL) != sizeof(*note))
		let_go_of_standby();
}

static void say_opened(const struct vhost_session *s)
{
	struct vhost_note note = {
		.kind = VHOST_NOTE_OPENED,
		.session = s->number,
		.slot = s->slot,
		.queues = s->port->config.queues,
		.offered = s->port->config.features,
	};

	memcpy(note.path, s->port->config.path, sizeof(note.path));
	note_send(&note, &s->channel.fd, 1);
}

static void say_message(
	void *arg, const struct vhost_message *msg, const int *fds, uint32_t nb_fds)
{
	const struct vhost_session *s = arg;
	struct vhost_note note = {.kind = VHOST_NOTE_MESSAGE, .session = s->number, .msg = *msg};

	note_send(&note, fds, nb_fds);
}

void vhost_lead_listens(const struct vhost_port *port)
{
	struct vhost_note note = {.kind = VHOST_NOTE_LISTENS};

	memcpy(note.path, port->config.path, sizeof(note.path));
	note_send(&note, &port->listen.source.fd, 1);
}

void vhost_lead_opened(const struct vhost_session *s)
{
	say_opened(s);
	/* One that was taken over comes with a past. */
	vhost_device_replay(&s->device, say_message, (void *)(uintptr_t)s);
}

void vhost_lead_message(const struct vhost_session *s)
{
	if (vhost_message_changes(&s->channel.msg))
		say_message(
			(void *)(uintptr_t)s, &s->channel.msg, s->channel.fds, s->channel.nb_fds);
}

void vhost_lead_closed(const struct vhost_session *s)
{
	struct vhost_note note = {.kind = VHOST_NOTE_CLOSED, .session = s->number};

	note_send(&note, NULL, 0);
}

/* ---- control ---- */

static void prepare_socket(int fd)
{
	const struct timeval most = {.tv_usec = SEND_MAX_US};
	int size = SEND_BUFFER;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	/* The one beyond the system's limit wants a capability. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void say_everything(void)
{
	struct vhost_note page = {.kind = VHOST_NOTE_PAGE}, synced = {.kind = VHOST_NOTE_SYNCED};
	const int fds[] = {lead.page_fd, vb_alive_fd()};

	note_send(&page, fds, RTE_DIM(fds));
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next) {
		if (p->listen.open)
			vhost_lead_listens(p);
		for (struct vhost_session *s = p->sessions; s != NULL; s = s->next)
			vhost_lead_opened(s);
	}
	note_send(&synced, NULL, 0);
	lead.in_sync = lead.standby.fd >= 0;
}

int vb_lead(int fd)
{
	int ret = vhost_loop_start();

	if (ret != 0)
		return ret;
	vhost_loop_lock();
	vhost_watch_start();
	if (lead.standby.fd >= 0)
		let_go_of_standby();
	ret = page_make();
	vhost_lead_heartbeat(vb_monotonic_ns());
	lead.standby = (struct vhost_source){.fd = fd, .ready = standby_gone};
	if (ret == 0)
		ret = vhost_loop_watch(&lead.standby);
	if (ret == 0) {
		prepare_socket(fd);
		say_everything();
	} else {
		close(fd);
		lead.standby.fd = -1;
	}
	vhost_loop_unlock();
	return ret;
}

bool vb_leading(void)
{
	bool leading;

	vhost_loop_lock();
	leading = lead.in_sync;
	vhost_loop_unlock();
	return leading;
}

void vb_let_go(void)
{
	/* While guests are still served: their writers want the locks, too. */
	vb_captures_finish();
	vhost_loop_lock();
	pthread_mutex_lock(&vb_lock);
	/* Whole rounds to the end: what was taken from one ring is in another, or at a tap. */
	vb_host_finish();
	vb_workers_stop();
	vb_host_flush();
	/* All three locks are kept: nobody does anything any more. */
}
