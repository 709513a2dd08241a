/* SPDX-License-Identifier: Apache-2.0
 *
 * A network for ports to be on: a switch, an open antispoof brick before it, and a
 * directory of its own for their sockets.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#include "vhost_brick.h"

extern char network_dir[64];
extern struct vb_brick *network_switch, *network_guard;

/* Make it, with that many workers. */
void network_start(uint32_t nb_workers);

/* Its ports are gone.  0, or -1 if something is left in its directory. */
int network_end(void);

#endif
