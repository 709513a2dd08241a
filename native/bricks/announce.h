/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is told of whom when an edge of a switch comes up.
 *
 * What is behind an edge is either a station (a guest) or, on an uplink, a wire with
 * switches and hosts beyond it:
 * - A station that comes up is told of the addresses that the others have: it has
 *   forgotten them (neigh.h).
 * - Uplinks are told of a station that comes up, by all its addresses and MACs, so that
 *   switches outside learn, or learn again, that it is here.
 * - An uplink that comes up is told of all that are here.  Not of whoever was once: a
 *   guest that has moved to another host must not have its packets drawn back.
 *
 * The switch's MAC table says who is here.  It is filled from memory as stations and
 * uplinks come up, so that nothing need be flooded after a restart.
 *
 * Nothing is told of a station that its port's security would not let it say itself.
 */
#ifndef VB_ANNOUNCE_H
#define VB_ANNOUNCE_H

#include "bricks/mac_table.h"
#include "bricks/neigh.h"
#include "core/graph.h"

/* Whether the path's end has several stations, sessions of a port, which may be any after a
 * restart.
 */
static inline bool vb_is_shared(const struct vb_node *end)
{
	uint16_t n = 0;

	for (uint16_t i = 0; i < end->nb_links && !end->ops->uplink; i++)
		n += end->links[i].peer != NULL;
	return n > 1;
}

/* Control, lock held: node's edge has come up. */
void vb_announce(const struct vb_node *node, uint16_t edge, struct vb_mac_table *macs,
	struct vb_neigh_table *neighbours);

#endif
