/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of requests; see message.h.
 */
#include "vhost/message.h"

#include <stddef.h>

/* What the payload is, and so where a ring's number stands in it. */
enum payload {
	NOTHING,
	U64,
	RING_FD, /* a u64 with a ring's number and VHOST_RING_NO_FD */
	RING_STATE,
	RING_ADDR,
	TABLE,
	LOG,
};

static const uint32_t sizes[] = {
	[NOTHING] = 0,
	[U64] = sizeof(uint64_t),
	[RING_FD] = sizeof(uint64_t),
	[RING_STATE] = sizeof(struct vhost_ring_state),
	[RING_ADDR] = sizeof(struct vhost_ring_addr),
	[TABLE] = sizeof(struct vhost_mem_table), /* at most */
	[LOG] = sizeof(struct vhost_log_base),
};

static const struct request {
	const char *name;
	enum payload payload;
	bool changes;
} requests[] = {
	[VHOST_GET_FEATURES] = {"GET_FEATURES", NOTHING, false},
	[VHOST_SET_FEATURES] = {"SET_FEATURES", U64, true},
	[VHOST_SET_OWNER] = {"SET_OWNER", NOTHING, false},
	[VHOST_RESET_OWNER] = {"RESET_OWNER", NOTHING, true},
	[VHOST_SET_MEM_TABLE] = {"SET_MEM_TABLE", TABLE, true},
	[VHOST_SET_LOG_BASE] = {"SET_LOG_BASE", LOG, true},
	[VHOST_SET_VRING_NUM] = {"SET_VRING_NUM", RING_STATE, true},
	[VHOST_SET_VRING_ADDR] = {"SET_VRING_ADDR", RING_ADDR, true},
	[VHOST_SET_VRING_BASE] = {"SET_VRING_BASE", RING_STATE, true},
	[VHOST_GET_VRING_BASE] = {"GET_VRING_BASE", RING_STATE, true},
	[VHOST_SET_VRING_KICK] = {"SET_VRING_KICK", RING_FD, true},
	[VHOST_SET_VRING_CALL] = {"SET_VRING_CALL", RING_FD, true},
	[VHOST_SET_VRING_ERR] = {"SET_VRING_ERR", RING_FD, false},
	[VHOST_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", NOTHING, false},
	[VHOST_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64, true},
	[VHOST_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", NOTHING, false},
	[VHOST_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", RING_STATE, true},
	[VHOST_SEND_RARP] = {"SEND_RARP", U64, false},
	[VHOST_NET_SET_MTU] = {"NET_SET_MTU", U64, false},
};

static const struct request *find(uint32_t request)
{
	if (request >= sizeof(requests) / sizeof(requests[0]) || requests[request].name == NULL)
		return NULL;
	return &requests[request];
}

const char *vhost_request_name(uint32_t request)
{
	const struct request *r = find(request);

	return r != NULL ? r->name : "unknown request";
}

bool vhost_message_changes(const struct vhost_message *msg)
{
	const struct request *r = find(msg->header.request);

	return r != NULL && r->changes;
}

/* The protocol leaves the payload of a table as long as the table is. */
#define TABLE_HEAD offsetof(struct vhost_mem_table, regions)
#define TABLE_ROW sizeof(struct vhost_region_offer)

bool vhost_header_check(const struct vhost_header *header)
{
	const struct request *r = find(header->request);

	if (r == NULL || (header->flags & VHOST_FLAG_VERSION) != VHOST_VERSION ||
		(header->flags & VHOST_FLAG_REPLY) != 0)
		return false;
	if (r->payload == TABLE)
		return header->size >= TABLE_HEAD && header->size <= sizes[TABLE];
	return header->size == sizes[r->payload];
}

bool vhost_message_check(const struct vhost_message *msg, uint32_t nb_fds, uint32_t nb_rings)
{
	const struct request *r = find(msg->header.request);

	if (!vhost_header_check(&msg->header))
		return false;
	switch (r->payload) {
	case RING_FD:
		return (msg->payload.u64 & ~(uint64_t)VHOST_RING_NO_FD) < nb_rings &&
		       nb_fds == ((msg->payload.u64 & VHOST_RING_NO_FD) == 0);
	case RING_STATE:
	case RING_ADDR:
		return msg->payload.state.index < nb_rings && nb_fds == 0;
	case TABLE:
		return msg->payload.table.nb_regions <= VHOST_REGIONS_MAX &&
		       msg->header.size ==
			       TABLE_HEAD + msg->payload.table.nb_regions * TABLE_ROW &&
		       nb_fds == msg->payload.table.nb_regions;
	case LOG:
		return nb_fds == 1;
	default:
		return nb_fds == 0;
	}
}
