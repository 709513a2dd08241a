/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost-user messages that we look at before rte_vhost does, or answer ourselves.
 *
 * The library of DPDK 22.11 says 128 to GET_QUEUE_NUM whatever it was told, and
 * takes any ring index up to its own limit.  A port offers its own number of
 * queue pairs, for ever, and rings beyond it end the connection.  What messages tell
 * of guest memory is for vhost_memory.c to judge.
 *
 * Handlers run with the rings locked: no lock here.
 */
#include <rte_vhost.h>
#include <stdint.h>
#include <unistd.h>

#include "bricks/vhost.h"

/* The start of a message; the layout is the protocol's ("Message header" in QEMU's
 * docs/interop/vhost-user.rst), what rte_vhost hands to an extern handler.
 */
struct message {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct {
			uint32_t index;
			uint32_t num;
		} state;
	} payload;
} __attribute__((packed));

enum {
	SET_FEATURES = 2,
	SET_MEM_TABLE = 5,
	GET_QUEUE_NUM = 17,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	SET_VRING_ENABLE = 18,
};

#define VRING_FD_INDEX 0xff

/* The ring that a message is about, or -1. */
static int ring_of(const struct message *msg)
{
	switch (msg->request) {
	case SET_VRING_NUM:
	case SET_VRING_ADDR:
	case SET_VRING_BASE:
	case GET_VRING_BASE:
	case SET_VRING_ENABLE:
		return msg->payload.state.index;
	case SET_VRING_KICK:
	case SET_VRING_CALL:
	case SET_VRING_ERR:
		return msg->payload.u64 & VRING_FD_INDEX;
	default:
		return -1;
	}
}

/* Whether the library would look into the memory that the message names. */
static bool touches_memory(const struct message *msg)
{
	return msg->request == SET_VRING_ADDR || msg->request == SET_VRING_KICK;
}

static void note_memory(struct vhost_session *s, const struct message *msg)
{
	if (msg->request == SET_VRING_ENABLE && msg->payload.state.num != 0)
		vhost_memory_ring_enabled(s);
	else if (msg->request == SET_FEATURES)
		vhost_memory_features(s);
	else if (msg->request == SET_MEM_TABLE)
		vhost_memory_offered(s);
}

static enum rte_vhost_msg_result before(int vid, void *data)
{
	struct vhost_session *s = vhost_session_of(vid);
	struct message *msg = data;

	if (s == NULL)
		return RTE_VHOST_MSG_RESULT_ERR;
	if (msg->request == GET_QUEUE_NUM) {
		msg->payload.u64 = s->port->config.queues;
		msg->size = sizeof(msg->payload.u64);
		return RTE_VHOST_MSG_RESULT_REPLY;
	}
	if (ring_of(msg) >= (int)s->port->config.queues * 2)
		return RTE_VHOST_MSG_RESULT_ERR;
	if (touches_memory(msg) && vhost_memory_is_bad(s))
		return RTE_VHOST_MSG_RESULT_ERR;
	note_memory(s, msg);
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Not called after a message that the library has refused. */
static enum rte_vhost_msg_result after(int vid, void *data)
{
	struct vhost_session *s = vhost_session_of(vid);
	const struct message *msg = data;

	if (msg->request == SET_MEM_TABLE && !vhost_memory_mapped(s))
		return RTE_VHOST_MSG_RESULT_ERR;
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops handlers = {
	.pre_msg_handle = before,
	.post_msg_handle = after,
};

int vhost_msg_register(int vid)
{
	return rte_vhost_extern_callback_register(vid, &handlers, NULL);
}
