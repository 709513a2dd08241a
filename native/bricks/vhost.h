/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the vhost brick share:
 *
 *   vhost.c          the brick: packets, sessions, create and destroy
 *   vhost_driver.c   rte_vhost's callbacks and its driver calls
 *   vhost_connect.c  the thread that connects client-mode ports again and again
 *   vhost_msg.c      vhost-user messages that we look at or answer ourselves
 *   vhost_memory.c   guest memory that is not shared, or does not fit its file
 */
#ifndef VB_VHOST_H
#define VB_VHOST_H

#include "core/event.h"
#include "core/graph.h"

/* rte_vhost's own limit of devices (RTE_MAX_VHOST_DEVICE, not public). */
#define VHOST_DEVICES_MAX 1024

/* What a frontend's messages have told of its guest's memory: vhost_memory.c's. */
struct vhost_guest_memory {
	uint32_t state;	    /* atomic */
	bool ring_enabled;  /* it has enabled a ring, */
	bool driver_starts; /* and set features after that */
};

/* One connected frontend.  Made and freed by rte_vhost's callbacks, of which the
 * library runs one at a time for one device.
 */
struct vhost_session {
	struct vhost_port *port;
	int vid;
	uint64_t number;
	uint64_t enabled;  /* atomic: a bit a queue pair whose two rings are enabled */
	uint64_t rings[2]; /* enabled rings, a bit a queue pair: to and from the guest */
	uint64_t features; /* atomic */
	uint64_t since;	   /* atomic */
	bool running;	   /* in the graph; vb_lock */
	bool was_running;  /* its device became ready once; atomic */
	uint16_t edge;	   /* while running */
	struct vhost_guest_memory memory;
	struct vhost_session *next;
};

enum connect_state {
	CONNECT_WAITING,  /* the path is not there */
	CONNECT_TRYING,	  /* it is; try again at "due" */
	CONNECT_OPEN,	  /* a frontend is connected */
	CONNECT_CLOSED,	  /* it left; the library wants to be told */
	CONNECT_REMOVING, /* vb_brick_destroy() waits for CONNECT_REMOVED */
	CONNECT_REMOVED,
};

/* How a client-mode port connects; guarded by the connector's lock. */
struct vhost_connect {
	enum connect_state state;
	bool registered;   /* with rte_vhost */
	uint64_t due;	   /* monotonic ns of the next try */
	uint32_t failures; /* tries in a row that failed */
	int watch;	   /* inotify's number of the directory, or -1 */
	struct vhost_port *next;
};

/* A port: the state of a vhost brick. */
struct vhost_port {
	struct vb_vhost_config config;
	struct vb_brick *brick;
	struct vb_brick *to; /* the port's antispoof brick */
	uint32_t max_frame;
	uint32_t fault;			/* enum vb_fault; atomic */
	uint32_t unready;		/* frontends in a row that left before they were ready */
	uint32_t nb_sessions;		/* vb_lock */
	struct vhost_session *sessions; /* vb_lock */
	struct vhost_session *by_edge[VB_SESSIONS_MAX]; /* written before publishing an edge */
	struct vhost_connect connect;
	struct vhost_port *next; /* in the list of vhost_driver.c */
};

/* ---- vhost.c ---- */

/* Put a session into the graph; vb_lock not held. */
int vhost_session_start(struct vhost_session *s);

/* Take it out, wait until no worker uses it; vb_lock not held. */
void vhost_session_stop(struct vhost_session *s);

/* Raise an event about a session (NULL: about the port). */
void vhost_event(struct vhost_port *port, struct vhost_session *s, enum vb_event_kind kind);

/* Set the port's fault, or clear it (VB_FAULT_NONE), and tell if that is news. */
void vhost_fault(struct vhost_port *port, enum vb_fault fault);

/* ---- vhost_driver.c ---- */

/* Make callbacks find the port by its path.  -EADDRINUSE: another one has it. */
int vhost_driver_add(struct vhost_port *port);

/* Forget it and free the sessions that the library never reported closed. */
void vhost_driver_remove(struct vhost_port *port);

/* Register with rte_vhost and listen or connect; -errno.  No lock held. */
int vhost_driver_start(struct vhost_port *port);

/* The contrary; stops the port's sessions.  No lock held, not from a callback. */
void vhost_driver_stop(struct vhost_port *port);

/* The session of a device, or NULL; in a callback of that device. */
struct vhost_session *vhost_session_of(int vid);

/* The session with that number, or NULL; vb_lock held. */
struct vhost_session *vhost_session_numbered(uint64_t number);

/* ---- vhost_connect.c ---- */

/* Keep a client-mode port connected from now on; -errno. */
int vhost_connect_add(struct vhost_port *port);

/* Let go of it and return when rte_vhost has, too. */
void vhost_connect_remove(struct vhost_port *port);

/* The port's frontend has left; ready: its device had become ready.  In a callback. */
void vhost_connect_lost(struct vhost_port *port, bool ready);

/* ---- vhost_msg.c ---- */

/* Look at a connection's messages before the library does. */
int vhost_msg_register(int vid);

/* ---- vhost_memory.c: in a callback of the session's device ---- */

/* The frontend enables a ring. */
void vhost_memory_ring_enabled(struct vhost_session *s);

/* It sets features. */
void vhost_memory_features(struct vhost_session *s);

/* It sends a memory table. */
void vhost_memory_offered(struct vhost_session *s);

/* The library has mapped the table.  False: it is of no use, and the port has a fault. */
bool vhost_memory_mapped(struct vhost_session *s);

/* Whether the port's fault is the memory of this session. */
bool vhost_memory_is_bad(const struct vhost_session *s);

/* The connection is closed.  True: the port has a fault because of its memory. */
bool vhost_memory_closed(struct vhost_session *s);

#endif
