/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost-user messages: their layout, and which of them a frontend may send.
 *
 * The list of requests is an allow-list.  What is not on it (inflight, crypto, config,
 * postcopy, IOTLB, backend channel ...) was never offered, so an honest frontend does
 * not send it.  A message that passes vhost_message_check() has the size and the number
 * of file descriptors that its request calls for, and names no ring that the port does
 * not have; what the values mean is for device.c to judge.
 *
 * Layouts and numbers are the protocol's (QEMU, docs/interop/vhost-user.rst).
 */
#ifndef VHOST_MESSAGE_H
#define VHOST_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost/memory.h"

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SEND_RARP = 19,
	VHOST_NET_SET_MTU = 20,
};

#define VHOST_VERSION 1
#define VHOST_FLAG_VERSION 0x3
#define VHOST_FLAG_REPLY 0x4
#define VHOST_FLAG_NEED_REPLY 0x8

/* Feature bits beside virtio's own. */
#define VHOST_USER_F_LOG_ALL 26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* Protocol features, by bit. */
#define VHOST_PROTOCOL_MQ 0
#define VHOST_PROTOCOL_LOG_SHMFD 1
#define VHOST_PROTOCOL_RARP 2
#define VHOST_PROTOCOL_REPLY_ACK 3
#define VHOST_PROTOCOL_NET_MTU 4

/* In the u64 of SET_VRING_KICK and its kin: the ring, and that no fd comes with it. */
#define VHOST_RING_INDEX 0xff
#define VHOST_RING_NO_FD 0x100

/* In struct vhost_ring_addr: log writes to the used ring. */
#define VHOST_RING_LOG 0x1

struct vhost_ring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_ring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* these three in the frontend's addresses */
	uint64_t used;
	uint64_t avail;
	uint64_t log; /* of the used ring, in guest physical addresses */
};

struct vhost_mem_table {
	uint32_t nb_regions;
	uint32_t padding;
	struct vhost_region_offer regions[VHOST_REGIONS_MAX];
};

struct vhost_log_base {
	uint64_t size;
	uint64_t offset;
};

struct vhost_header {
	uint32_t request; /* enum vhost_request, or anything */
	uint32_t flags;
	uint32_t size; /* of the payload */
} __attribute__((packed));

struct vhost_message {
	struct vhost_header header;
	union {
		uint64_t u64;
		struct vhost_ring_state state;
		struct vhost_ring_addr addr;
		struct vhost_mem_table table;
		struct vhost_log_base log;
	} payload;
} __attribute__((packed));

/* Whether a header may come at all, before its payload is waited for. */
bool vhost_header_check(const struct vhost_header *header);

/* Whether a whole message may, with nb_fds file descriptors, at a port of nb_rings. */
bool vhost_message_check(const struct vhost_message *msg, uint32_t nb_fds, uint32_t nb_rings);

/* The request's name, or "unknown request".  Static. */
const char *vhost_request_name(uint32_t request);

/* Whether a standby has to hear of it. */
bool vhost_message_changes(const struct vhost_message *msg);

#endif
