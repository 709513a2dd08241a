/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the vhost brick share:
 *
 *   vhost.c          the brick: packets, create and destroy
 *   vhost_session.c  a connected frontend: its messages, its edge in the graph
 *   vhost_watch.c    what is looked at ten times a second, such as misbehaviour
 *   vhost_memory.c   guest memory that is not shared, or cannot be mapped
 *   vhost_connect.c  client-mode ports, which connect again and again
 *   vhost_listen.c   server-mode ports
 *   vhost_lead.c     telling a standby of all sessions
 *   vhost_follow.c   the standby, and its take-over
 *
 * Protocol, rings and guest memory are native/vhost's.  Everything here belongs to the
 * vhost loop: functions want its lock unless they say otherwise.
 */
#ifndef VB_VHOST_H
#define VB_VHOST_H

#include "core/event.h"
#include "core/graph.h"
#include "vhost/channel.h"
#include "vhost/device.h"
#include "vhost/loop.h"

/* What a frontend's messages have told of its guest's memory: vhost_memory.c's. */
struct vhost_guest_memory {
	enum vb_fault bad;  /* what is wrong with it, or VB_FAULT_NONE */
	bool offered;	    /* a table came */
	bool ring_enabled;  /* it has enabled a ring, */
	bool driver_starts; /* and set features after that */
	uint64_t due;	    /* monotonic ns when a table has to be there, or 0 */
};

/* Misbehaviour: vhost_watch.c's. */
struct vhost_conduct {
	uint64_t refused;    /* as far as we have looked */
	uint32_t offences;   /* in a row */
	uint64_t mute_until; /* monotonic ns, or 0 */
	uint64_t good_since; /* monotonic ns */
	uint64_t second;     /* monotonic ns, when "starts" began */
	uint32_t starts;     /* since then, wanted or done */
};

/* One connected frontend. */
struct vhost_session {
	struct vhost_port *port; /* NULL: a standby's copy */
	struct vhost_channel channel;
	struct vhost_source source;
	struct vhost_device device;
	uint64_t number;
	uint64_t since;	  /* atomic */
	uint32_t slot;	  /* in the page shared with a standby */
	bool running;	  /* in the graph */
	bool was_running; /* it was, once */
	uint16_t edge;	  /* while running */
	uint32_t refused; /* messages */
	uint64_t told;	  /* the enabled queue pairs that the last event told */
	enum vb_fault ended_by;
	struct vhost_guest_memory memory;
	struct vhost_conduct conduct;
	struct vhost_session *next;
};

enum connect_state {
	CONNECT_WAITING, /* the path is not there */
	CONNECT_TRYING,	 /* it is; the timer says when to try again */
	CONNECT_OPEN,	 /* a frontend is connected */
};

/* How a client-mode port connects. */
struct vhost_connect {
	enum connect_state state;
	uint32_t failures; /* tries in a row that failed */
	int watch;	   /* inotify's number of the directory, or -1 */
};

/* How a server-mode port listens. */
struct vhost_listen {
	struct vhost_source source;
	bool open;	 /* source.fd is a socket that listens */
	bool watched;	 /* the loop takes connections; else the timer says when again */
	double tokens;	 /* connections that may come at once */
	uint64_t filled; /* monotonic ns, when tokens were counted last */
};

/* A port: the state of a vhost brick. */
struct vhost_port {
	struct vb_vhost_config config;
	struct vb_brick *brick;
	struct vb_brick *to; /* the port's antispoof brick */
	uint32_t max_frame;
	uint32_t fault;	  /* enum vb_fault; atomic */
	uint32_t unready; /* frontends in a row that left before they were ready */
	uint32_t nb_sessions;
	struct vhost_session *sessions;
	struct vhost_session *by_edge[VB_SESSIONS_MAX]; /* written before publishing an edge */
	struct vhost_connect connect;
	struct vhost_listen listen;
	struct vhost_timer timer; /* of connect or listen */
	struct vhost_port *next;
};

/* ---- vhost.c ---- */

/* All ports. */
struct vhost_port *vhost_ports(void);

struct vhost_port *vhost_port_at(const char *path);

/* Raise an event about a session (NULL: about the port). */
void vhost_event(struct vhost_port *port, struct vhost_session *s, enum vb_event_kind kind);

/* Set the port's fault, or clear it (VB_FAULT_NONE), and tell if that is news. */
void vhost_fault(struct vhost_port *port, enum vb_fault fault);

/* ---- vhost_session.c ---- */

/* A frontend has connected at fd, which is taken over.  False: it may not. */
bool vhost_session_open(struct vhost_port *port, int fd);

/* End a session, because of a fault or (VB_FAULT_NONE) because it left. */
void vhost_session_close(struct vhost_session *s, enum vb_fault fault);

/* Make a session out of its parts; NULL: out of memory.  It is not yet a port's. */
struct vhost_session *vhost_session_new(int fd, uint64_t offered, uint32_t queues);

/* Bring the graph in line with the device's rings, unless that was done too often. */
void vhost_session_follow_rings(struct vhost_session *s);

/* Free what vhost_session_new() made. */
void vhost_session_free(struct vhost_session *s);

/* Make it the port's and serve it.  -errno, and nothing has changed. */
int vhost_session_attach(
	struct vhost_session *s, struct vhost_port *port, enum vb_event_kind kind);

/* ---- vhost_watch.c ---- */

/* Look at all sessions from time to time, from now on. */
void vhost_watch_start(void);

/* ---- vhost_memory.c ---- */

/* A message is about to be handled. */
void vhost_memory_note(struct vhost_session *s, const struct vhost_message *msg);

/* Whether a message would have us look into memory that is of no use. */
bool vhost_memory_forbids(const struct vhost_session *s, const struct vhost_message *msg);

/* A memory table was handled, with that outcome; it may be of no use all the same. */
void vhost_memory_judge(struct vhost_session *s, struct vhost_outcome *outcome);

/* If memory should be there by now, and is not, say so. */
void vhost_memory_check_clock(struct vhost_session *s, uint64_t now);

/* ---- vhost_connect.c ---- */

/* Keep a client-mode port connected from now on, or let go of it; -errno. */
int vhost_connect_add(struct vhost_port *port);
void vhost_connect_remove(struct vhost_port *port);

/* The port's frontend has left; ready: its device had become ready. */
void vhost_connect_lost(struct vhost_port *port, bool ready);

/* ---- vhost_listen.c ---- */

/* Listen; the path must not exist.  -EADDRINUSE: it does.  Else -errno. */
int vhost_listen_add(struct vhost_port *port);

/* Take a socket away on which nobody answers. */
void vhost_listen_clear(const char *path);

/* Listen with a socket that does already. */
int vhost_listen_adopt(struct vhost_port *port, int fd);

/* Close the socket and take its path away. */
void vhost_listen_remove(struct vhost_port *port);

/* The process at the other end of a connected socket, and its user. */
bool vhost_peer_of(int fd, int32_t *pid, uint32_t *uid);

/* Whether it may be there. */
bool vhost_peer_allowed(int fd);

/* ---- vhost_lead.c ---- */

/* A session's number in the page that is shared with a standby. */
uint32_t vhost_lead_slot_take(void);
void vhost_lead_slot_give(uint32_t slot);

/* Around each message: a process that dies in between leaves the mark. */
void vhost_lead_begin(const struct vhost_session *s);
void vhost_lead_end(const struct vhost_session *s);

/* Tell the standby, if there is one. */
void vhost_lead_opened(const struct vhost_session *s);
void vhost_lead_message(const struct vhost_session *s);
void vhost_lead_closed(const struct vhost_session *s);
void vhost_lead_listens(const struct vhost_port *port);

/* Give the standby a sign of life. */
void vhost_lead_heartbeat(uint64_t now);

/* ---- vhost_follow.c ---- */

/* Whether this process stands by: ports neither listen nor connect. */
bool vhost_stands_by(void);

#endif
