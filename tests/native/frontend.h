/* SPDX-License-Identifier: Apache-2.0
 *
 * A vhost-user frontend in C, as small as can be: one device of a guest, whose memory is
 * a memfd and whose driver is the test.  It has the memory mapped apart from the datapath,
 * as a guest does, though both are in one process.
 */
#ifndef FRONTEND_H
#define FRONTEND_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhost/message.h"

#define FRONTEND_QUEUES 2
#define FRONTEND_RINGS (2 * FRONTEND_QUEUES)
#define FRONTEND_RING 64 /* places */
#define FRONTEND_BUFFER 2048

struct frontend {
	int socket;
	int memory_fd;
	uint8_t *memory;
	int kick, call;		       /* for all rings */
	uint16_t seen[FRONTEND_RINGS]; /* used index as far as the driver has looked */
};

/* Make a guest.  It is not connected. */
void frontend_init(struct frontend *f);
void frontend_fini(struct frontend *f);

/* The region that its memory is. */
struct vhost_region_offer frontend_region(void);

/* Connect to a server-mode port; and leave. */
void frontend_connect(struct frontend *f, const char *path);
void frontend_leave(struct frontend *f);

/* Send a message with up to one fd (-1: none). */
void frontend_say(struct frontend *f, enum vhost_request request, const void *payload,
	uint32_t size, int fd);

/* Send it and wait for the answer's u64. */
uint64_t frontend_ask(
	struct frontend *f, enum vhost_request request, const void *payload, uint32_t size);

/* From nothing to running rings, all of them, with empty rings. */
void frontend_start(struct frontend *f);

/* The same, with rings as they are: those of a guest that went on without a datapath. */
void frontend_resume(struct frontend *f);

/* As a guest does when it reboots: the rings stop, one after the other. */
void frontend_stop(struct frontend *f);

void frontend_enable(struct frontend *f, uint32_t pair, bool enable);

/* Whether the datapath asks for a kick when a chain of a ring is made available. */
bool frontend_is_to_kick(const struct frontend *f, uint32_t ring);
void frontend_kick(struct frontend *f);

/* Send a frame of 60 or of 1500 bytes from the guest, with a kick if need be; false: the ring is
 * full. */
bool frontend_send(struct frontend *f, uint32_t pair, uint8_t dst, uint8_t src);

/* How many chains of a ring the datapath has given back, modulo 2^16. */
uint16_t frontend_used(const struct frontend *f, uint32_t ring);

/* Take the frames that came to a pair; returns how many. */
uint32_t frontend_receive(struct frontend *f, uint32_t pair);

#endif
