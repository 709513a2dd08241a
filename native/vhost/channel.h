/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection: whole messages in, answers out, without ever waiting.
 *
 * A message may come in any pieces.  Until it is whole nothing happens but that its
 * clock runs; the owner looks at vhost_channel_waiting_since() from time to time.
 */
#ifndef VHOST_CHANNEL_H
#define VHOST_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost/message.h"

#define VHOST_FDS_MAX VHOST_REGIONS_MAX

struct vhost_channel {
	int fd;
	struct vhost_message msg;
	uint32_t got; /* bytes of msg */
	int fds[VHOST_FDS_MAX];
	uint32_t nb_fds;
	uint64_t since; /* monotonic ns of the first byte; 0: between two messages */
};

enum vhost_read {
	VHOST_READ_MORE,    /* not whole yet */
	VHOST_READ_MESSAGE, /* msg and its fds, which the caller takes over, are whole */
	VHOST_READ_CLOSED,  /* the frontend has left */
	VHOST_READ_BAD,	    /* what comes is no message that may come */
};

/* Use a connected socket, which is taken over. */
void vhost_channel_init(struct vhost_channel *c, int fd);

/* Close it, and what came with half a message. */
void vhost_channel_fini(struct vhost_channel *c);

enum vhost_read vhost_channel_read(struct vhost_channel *c);

/* Send the message as an answer.  False: the frontend does not read its answers. */
bool vhost_channel_answer(struct vhost_channel *c, struct vhost_message *msg);

/* Close the fds of the message that was read: nobody wants them. */
void vhost_channel_discard(struct vhost_channel *c);

#endif
