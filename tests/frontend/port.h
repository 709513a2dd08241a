/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_PORT_H
#define VUSER_PORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "traffic.h"

#define MAX_PORTS 128

/*
 * A virtio-user device and the thread that attaches and detaches it: both
 * block, the driver's accept() for as long as no backend comes.
 */

struct port_args {
	char name[32];
	char path[108];
	bool server;	 /* the driver listens, as QEMU does for Nova */
	uint16_t queues; /* queue pairs */
	uint16_t queue_size;
	struct rte_ether_addr mac;
	unsigned int retry_ms; /* client: connect again so often; 0: never */
	char devargs[128];     /* more arguments for the driver */
};

enum port_state {
	PORT_ATTACHING, /* waiting for a backend */
	PORT_ATTACHED,	/* polled; the link may still go down and up */
	PORT_CLOSED,	/* given up: no retry asked for */
};

struct port {
	struct port_args args;
	pthread_t thread;

	/* guarded by lock; changed announces every change of them */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum port_state state;
	bool link;
	bool closing;

	uint16_t id;	       /* the ethdev, while attached */
	uint64_t link_changed; /* when; of the thread that handles interrupts */
	struct rte_mempool *rx_pool;
	struct rte_mempool *tx_pool;

	/* of the polling thread */
	struct stream stream;
	struct checker checker;
};

/* Begins to attach; "attached", "link" and "closed" events tell how it goes. */
struct port *port_new(const struct port_args *args);

/* Begins to detach; breaks off an attach that still waits for its backend. */
void port_close(struct port *port);

/* Whether it has; to be asked until it has, for that is what breaks the attach off. */
bool port_closed(struct port *port);

/* Both, and frees it. */
void port_delete(struct port *port);

void port_status(struct port *port, enum port_state *state, bool *link);
const char *port_state_name(enum port_state state);

/* One round over all queues; returns how many packets moved.  Polling thread. */
unsigned int port_poll(struct port *port, uint64_t now);

#endif
