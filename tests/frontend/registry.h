/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_REGISTRY_H
#define VUSER_REGISTRY_H

#include <stdbool.h>

#include "port.h"

/* The ports there are.  The control thread's, and read for it by poller_call(). */

/* Returns the port, or NULL; also for a name of NULL. */
struct port *registry_find(const char *name);

/* At most MAX_PORTS. */
void registry_add(struct port *port);
void registry_remove(struct port *port);

unsigned int registry_count(void);
struct port *registry_at(unsigned int i);

/* Whether a command for @name means @port: NULL means all of them. */
bool registry_meant(const struct port *port, const char *name);

#endif
