/* SPDX-License-Identifier: Apache-2.0
 *
 * What a serving process tells its standby: one note a datagram, with the file
 * descriptors that belong to it.  Both are of one host and trust each other, but need
 * not be of one version: the size of a note and its version are checked.
 *
 * A standby holds copies of all sockets, so nobody sees the connections close when the
 * serving process dies; it holds the rings' eventfds and the guests' memory; and where
 * a ring is stands in the ring itself.  So it goes on where the dead one stopped.  Only
 * a session in the middle of a message cannot be gone on with: nobody knows whether it
 * was answered.  Its mark in the shared page says so, and it is closed, which its
 * frontend survives by connecting again.
 */
#ifndef VB_VHOST_NOTE_H
#define VB_VHOST_NOTE_H

#include "vhost/message.h"
#include "vhost_brick.h"

#define VHOST_NOTE_VERSION 2 /* raise VERSION of daemon/handshake.py with it */
#define VHOST_SLOTS 4096     /* sessions at once that a standby can take over */

enum vhost_note_kind {
	VHOST_NOTE_PAGE,    /* fds: struct vhost_shared, core/alive.h */
	VHOST_NOTE_LISTENS, /* fd: the socket of the server-mode port at path */
	VHOST_NOTE_OPENED,  /* fd: a session of the port at path */
	VHOST_NOTE_MESSAGE, /* a message of a session, and its fds */
	VHOST_NOTE_CLOSED,  /* a session */
	VHOST_NOTE_SYNCED,  /* now you know everything */
};

struct vhost_note {
	uint32_t version;
	uint32_t kind;
	uint64_t session;
	uint32_t slot;
	uint32_t queues;
	uint64_t offered;
	char path[VB_PATH_MAX];
	uint32_t padding;
	struct vhost_message msg;
};

/* Memory of both: written by the serving process, read by the standby. */
struct vhost_shared {
	uint64_t heartbeat;	   /* atomic: monotonic ns */
	uint8_t busy[VHOST_SLOTS]; /* atomic: the slot's session is in a message */
};

#endif
