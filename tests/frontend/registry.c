/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "registry.h"

static struct port *ports[MAX_PORTS];
static unsigned int nr_ports;

struct port *registry_find(const char *name)
{
	for (unsigned int i = 0; name != NULL && i < nr_ports; i++)
		if (strcmp(ports[i]->args.name, name) == 0)
			return ports[i];
	return NULL;
}

void registry_add(struct port *port)
{
	ports[nr_ports++] = port;
}

void registry_remove(struct port *port)
{
	for (unsigned int i = 0; i < nr_ports; i++)
		if (ports[i] == port)
			ports[i] = ports[--nr_ports];
}

unsigned int registry_count(void)
{
	return nr_ports;
}

struct port *registry_at(unsigned int i)
{
	return ports[i];
}

bool registry_meant(const struct port *port, const char *name)
{
	return name == NULL || strcmp(port->args.name, name) == 0;
}
