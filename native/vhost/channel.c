/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing a vhost-user socket; see channel.h.
 */
#include "vhost/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "vhost/foreign.h"

/* One fd more than any message has, to see that there are too many. */
#define ROOM (VHOST_FDS_MAX + 1)

void vhost_channel_init(struct vhost_channel *c, int fd)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
}

void vhost_channel_discard(struct vhost_channel *c)
{
	for (uint32_t i = 0; i < c->nb_fds; i++)
		vhost_foreign_close(c->fds[i]);
	c->nb_fds = 0;
}

void vhost_channel_fini(struct vhost_channel *c)
{
	vhost_channel_discard(c);
	close(c->fd);
}

/* Keep the fds that came; false: they are too many.  There may be more than ROOM of them:
 * the kernel also fills what CMSG_SPACE() has rounded up.
 */
static bool take_fds(struct vhost_channel *c, struct msghdr *hdr)
{
	bool fit = (hdr->msg_flags & MSG_CTRUNC) == 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(hdr); h != NULL; h = CMSG_NXTHDR(hdr, h)) {
		uint32_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (uint32_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (c->nb_fds < VHOST_FDS_MAX) {
				c->fds[c->nb_fds++] = fd;
			} else {
				vhost_foreign_close(fd);
				fit = false;
			}
		}
	}
	return fit;
}

static uint32_t wanted(const struct vhost_channel *c)
{
	uint32_t header = sizeof(c->msg.header);

	return c->got < header ? header : header + c->msg.header.size;
}

/* Read towards what is wanted next; returns bytes, 0 (closed), -EAGAIN, or -EPROTO. */
static ssize_t read_some(struct vhost_channel *c)
{
	union {
		char buf[CMSG_SPACE(ROOM * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {
		.iov_base = (char *)&c->msg + c->got,
		.iov_len = wanted(c) - c->got,
	};
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(c->fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	return take_fds(c, &hdr) ? n : -EPROTO;
}

enum vhost_read vhost_channel_read(struct vhost_channel *c)
{
	for (;;) {
		ssize_t n = read_some(c);

		if (n == -EAGAIN)
			return VHOST_READ_MORE;
		if (n <= 0)
			return n == 0 ? VHOST_READ_CLOSED : VHOST_READ_BAD;
		if (c->got == 0)
			c->since = vb_monotonic_ns();
		c->got += n;
		if (c->got == sizeof(c->msg.header) && !vhost_header_check(&c->msg.header))
			return VHOST_READ_BAD;
		if (c->got < sizeof(c->msg.header) || c->got < wanted(c))
			continue;
		c->got = 0;
		c->since = 0;
		return VHOST_READ_MESSAGE;
	}
}

bool vhost_channel_answer(struct vhost_channel *c, struct vhost_message *msg)
{
	ssize_t len = sizeof(msg->header) + msg->header.size;

	msg->header.flags = VHOST_VERSION | VHOST_FLAG_REPLY;
	return send(c->fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL) == len;
}
