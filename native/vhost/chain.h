/* SPDX-License-Identifier: Apache-2.0
 *
 * One chain of descriptors, checked, as the pieces of our memory that it names.
 */
#ifndef VHOST_CHAIN_H
#define VHOST_CHAIN_H

#include "core/drop.h"
#include "vhost/ring.h"

struct vhost_piece {
	uint8_t *at;
	uint64_t gpa;
	uint32_t len; /* never 0 */
};

struct vhost_chain {
	uint32_t nb_pieces;
	uint32_t nb_empty; /* descriptors of no bytes: they cost time, and nothing else */
	uint32_t bytes;
	struct vhost_piece pieces[VHOST_CHAIN_MAX];
};

#define VHOST_CHAIN_OK VB_DROPS

/* Append the chain that begins at descriptor head, all of whose buffers must be
 * writable or all readable for us.  VHOST_CHAIN_OK, or why it is refused.
 */
enum vb_drop vhost_chain_append(
	struct vhost_chain *c, const struct vhost_vring *v, uint16_t head, bool writable);

/* A place in a chain. */
struct vhost_cursor {
	const struct vhost_piece *piece;
	uint32_t offset;
};

/* Copy len bytes, which the chain has, from the cursor on, and move it on. */
void vhost_chain_read(struct vhost_cursor *c, void *to, uint32_t len);

/* The same the other way; log, if not NULL, is told. */
void vhost_chain_write(
	struct vhost_cursor *c, const void *from, uint32_t len, const struct vhost_log *log);

#endif
