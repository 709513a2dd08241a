/* SPDX-License-Identifier: Apache-2.0
 *
 * ARP and IPv6 neighbour discovery on the wire.
 */
#ifndef VB_NEIGH_PACKET_H
#define VB_NEIGH_PACKET_H

#include "bricks/neigh.h"

/* Read the sender's addresses out of a frame into family, mac and ip.  False if it
 * says nothing that can be believed: it is malformed, has no sender address (a
 * probe), or names another MAC than the frame's source.
 */
bool vb_neigh_parse(const struct rte_mbuf *m, struct vb_neigh *n);

#endif
