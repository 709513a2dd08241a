/* SPDX-License-Identifier: Apache-2.0
 *
 * The public C API of the datapath: the only header the Python side sees.
 *
 * build_ffi.py cuts the cffi declarations out of the part between the two
 * "ffi" marks, so that part holds plain C without preprocessor conditions, and
 * no DPDK type.
 *
 * Conventions, unless a function says otherwise:
 * - int results are 0, or -errno and nothing has changed.
 * - Control functions may be called from any thread but a poll worker; they
 *   serialise themselves.  None waits for a guest.
 * - Handles belong to the library; the caller destroys what it created.
 * - Times are nanoseconds of CLOCK_REALTIME.
 */
#ifndef VHOST_BRICK_H
#define VHOST_BRICK_H

#include <stdbool.h>
#include <stdint.h>

/* ffi: begin */

#define VB_NAME_MAX 128	   /* bytes of a brick's name, NUL included */
#define VB_PATH_MAX 108	   /* bytes of a socket path, NUL included: sockaddr_un.sun_path */
#define VB_DROPS_MAX 48	   /* room for drop reasons; vb_drop_name() names those in use */
#define VB_WORKERS_MAX 32  /* poll workers */
#define VB_QUEUES_MAX 64   /* queue pairs of a port: one bit each in a word */
#define VB_SESSIONS_MAX 64 /* frontends at once on one server-mode port */
#define VB_PAIRS_MAX 128   /* address pairs of a port */

/* A packet function in the graph: vhost, switch, tap and so on. */
struct vb_brick;

/* ---- the runtime: once in the life of a process ---- */

/* One worker a core of worker_cores; a core of -1 leaves its worker unpinned. */
struct vb_options {
	const char *const *eal_args; /* without argv[0] and without -l/--lcores */
	uint32_t nb_eal_args;
	int32_t worker_cores[VB_WORKERS_MAX];
	uint32_t nb_workers;	      /* 1 to VB_WORKERS_MAX */
	const int32_t *control_cores; /* where all other threads run; none: anywhere */
	uint32_t nb_control_cores;
	uint32_t nb_mbufs;
	/* Users (uid) whose processes may be at the other end of a vhost-user socket, kept
	 * by the caller; none: the rights of the file decide.
	 */
	const uint32_t *peer_uids;
	uint32_t nb_peer_uids;
	/* Stand by: workers are not started, and ports neither listen nor connect, until
	 * vb_take_over().
	 */
	bool standby;
	/* End the process (abort) when a worker, or another thread that guests depend on,
	 * hangs for longer; 0: never.
	 */
	uint32_t watchdog_ms;
	/* Without a packet for so long a worker sleeps until there is one, and the first one
	 * waits for it to wake; 0: it polls all the time.
	 */
	uint32_t idle_sleep_us;
	/* Whatever happens, leave no core file: there are guests' packets in it. */
	bool no_core_dumps;
};

/* Begin with what vb_start() begins with, DPDK, on a thread of its own, while the caller
 * does something else.  The options are read until vb_start(), which waits for the end of
 * it and must be given the same.  -EALREADY: started or begun before.
 */
int vb_prelude(const struct vb_options *options);

/* Start DPDK, the packet buffers, the workers and the event queue.
 * The calling thread is bound to the control cores.
 * -EALREADY: started before.  -ENOMEM: no room for nb_mbufs.  -EIO: DPDK said why
 * in its log.
 */
int vb_start(const struct vb_options *options);

/* Destroy every brick and end the workers.  DPDK itself stays until exit. */
void vb_stop(void);

/* Send DPDK's log lines to fd (a pipe; it should not block) instead of stderr, each
 * after its level (syslog's plus one: 4 is an error, 7 information) and a blank.
 * Call it before vb_start().
 */
int vb_log_to(int fd);

/* DPDK's version, such as "DPDK 22.11.11".  Static. */
const char *vb_dpdk_version(void);

/* ---- networks ---- */

struct vb_switch_config {
	uint32_t mac_table_size; /* addresses: a power of two, 8 to 1048576 */
	uint32_t mac_ageing_s;	 /* seconds; 0 keeps addresses for ever */
	/* A file, best on a tmpfs, that outlives the process: the network's memory of
	 * its neighbours, told to guests and uplinks that come back.  NULL: not kept.  The caller
	 * unlinks it when the network is no more.
	 */
	const char *neighbours;
};

/* Create a learning switch without edges.  -EINVAL: config out of range. */
int vb_switch_create(
	const char *name, const struct vb_switch_config *config, struct vb_brick **out);

/* Addresses in the table that have not aged out. */
uint32_t vb_switch_macs(struct vb_brick *brick);

/* The brick called so is gone for good: do not remember what was behind it. */
void vb_switch_forget(struct vb_brick *brick, const char *name);

/* Join the kernel's tap interface ifname, which exists, to a switch.
 * -EBUSY: somebody else holds it.  -EINVAL: it is no tap.  mtu in bytes.
 */
int vb_tap_create(const char *name, const char *ifname, uint32_t mtu, struct vb_brick *to,
	struct vb_brick **out);

/* Take frames of up to mtu bytes from now on.  -EINVAL. */
int vb_tap_set_mtu(struct vb_brick *brick, uint32_t mtu);

/* Join any DPDK port to a switch or a trunk, by devargs: "0000:81:00.0",
 * "net_af_packet0,iface=eth1", "net_af_xdp0,iface=eth1", "net_tap0,iface=dtap0".  The port is
 * probed and started here, promiscuous, and detached by vb_brick_destroy().  mtu in bytes.
 * -EINVAL: devargs of no kind that DPDK knows, or the device cannot do mtu.  -ENODEV: no
 * such device, or no driver took it.  -EBUSY: the port is in use.  -EIO: it did not start.
 */
int vb_nic_create(const char *name, const char *devargs, uint32_t mtu, struct vb_brick *to,
	struct vb_brick **out);

/* Take frames of up to mtu bytes from now on.  -EINVAL: the device cannot.  -EBUSY: it cannot
 * while it runs; destroy the brick and create it again, as for a step from frames of one
 * packet buffer (2 KiB) to larger ones (-EINVAL).
 */
int vb_nic_set_mtu(struct vb_brick *brick, uint32_t mtu);

/* Create a trunk: a device (a tap or a nic) that networks share by VLAN.  The device's
 * brick is created next, with to = the trunk, and before any network joins.
 */
int vb_vlan_create(const char *name, struct vb_brick **out);

/* Give the switch "to" the frames of VLAN vid (1 to 4094), or the untagged ones (0).
 * -EEXIST: somebody has it.  -ENOTCONN: the trunk has no device.  -EINVAL: no such VLAN.
 */
int vb_vlan_join(struct vb_brick *vlan, uint16_t vid, struct vb_brick *to);

/* Take VLAN vid away from its switch; returns when no worker uses the edge.  -ENOENT. */
int vb_vlan_leave(struct vb_brick *vlan, uint16_t vid);

/* VXLAN (RFC 7348): frames in UDP, by the kernel's sockets. */

#define VB_REMOTES_MAX 1024 /* other hosts of one tunnel */

struct vb_vxlan_config {
	const char *local;	 /* numeric IPv4 or IPv6 address of this host */
	uint16_t port;		 /* UDP, the same on all hosts; IANA's is 4789 */
	uint32_t vni;		 /* 1 to 2^24 - 1 */
	uint32_t mtu;		 /* bytes of inner payload; longer frames are dropped */
	uint32_t mac_table_size; /* addresses: a power of two, from 8 */
	uint32_t mac_ageing_s;	 /* seconds; 0 keeps addresses for ever */
};

/* Join a switch to the hosts that vb_vxlan_set_remotes() names; at first none.
 * -EADDRNOTAVAIL: this host does not have the local address.  -EADDRINUSE: somebody
 * else, perhaps a kernel's vxlan interface, has the UDP port.  -EEXIST: another brick
 * has the VNI at this address and port.  -EINVAL: config out of range.
 */
int vb_vxlan_create(const char *name, const struct vb_vxlan_config *config, struct vb_brick *to,
	struct vb_brick **out);

/* Name all n hosts that have the network too, by numeric addresses of local's family;
 * from no other one is a packet taken.  Traffic with those that stay is not disturbed.
 * -EINVAL: an address is none of another host.  -E2BIG: more than VB_REMOTES_MAX.
 */
int vb_vxlan_set_remotes(struct vb_brick *brick, const char *const *addresses, uint32_t n);

/* Take frames of up to mtu bytes from now on.  -EINVAL. */
int vb_vxlan_set_mtu(struct vb_brick *brick, uint32_t mtu);

/* ---- ports ---- */

enum vb_security_mode {
	VB_SECURITY_OPEN = 0,	  /* everything passes */
	VB_SECURITY_FILTERED = 1, /* everything to the guest; from it what its pairs allow */
	VB_SECURITY_CLOSED = 2,	  /* nothing passes, either way */
};

/* Addresses that a guest may send from. */
struct vb_address_pair {
	uint8_t mac[6];	     /* of one station: no group, not zero */
	uint8_t family;	     /* 4, 6, or 0: every address goes with this MAC */
	uint8_t prefix_len;  /* bits of address that count: 0 to 32 or 128 */
	uint8_t address[16]; /* network byte order; IPv4 in the first four */
};

struct vb_security {
	uint32_t mode;	   /* enum vb_security_mode */
	uint32_t nb_pairs; /* at most VB_PAIRS_MAX; FILTERED alone uses them */
	const struct vb_address_pair *pairs;
};

/* Create what stands between a port and its switch "to": one a port, always.  The IPv6
 * link-local address that follows from a pair's MAC is allowed with it.  Its counters
 * are the drops only.  -EINVAL: security is out of range.
 */
int vb_antispoof_create(const char *name, const struct vb_security *security, struct vb_brick *to,
	struct vb_brick **out);

/* Take over other rules; returns when no worker uses the old ones.  What passes under
 * both is not disturbed.  -EINVAL.
 */
int vb_antispoof_set(struct vb_brick *brick, const struct vb_security *security);

struct vb_vhost_config {
	char path[VB_PATH_MAX];
	bool client;	   /* we connect and reconnect; else we listen */
	uint64_t features; /* virtio feature bits on offer, exactly */
	uint32_t queues;   /* queue pairs on offer: 1 to VB_QUEUES_MAX */
	uint32_t mtu;	   /* bytes; longer frames towards the guest are dropped */
};

/* The feature bits that this datapath offers a new port. */
uint64_t vb_vhost_features(void);

/* Serve a vhost-user socket; each session is a path through "to", the port's antispoof
 * brick, to its switch.
 *
 * Server: listens when this returns; the path must not exist.  Client: a
 * thread retries from now on; the path is never created nor unlinked.
 * -EADDRINUSE: the path is taken, in the file system or by another port.
 * -EOPNOTSUPP: features holds a bit that this datapath lacks.
 */
int vb_vhost_create(const char *name, const struct vb_vhost_config *config, struct vb_brick *to,
	struct vb_brick **out);

struct vb_session {
	uint64_t number;   /* unique in the life of the process */
	uint64_t features; /* what the frontend accepted; 0 until it has */
	uint64_t since;	   /* when it reached its state */
	uint32_t queues;   /* queue pairs with enabled rings */
	bool running;	   /* packets flow */
};

/* Write up to max sessions of a port to out; return how many it wrote. */
uint32_t vb_vhost_sessions(struct vb_brick *brick, struct vb_session *out, uint32_t max);

/* The name of the port's present fault, or "".  Static. */
const char *vb_vhost_fault(struct vb_brick *brick);

/* ---- all bricks ---- */

/* Take a brick out of the graph, wait until no worker uses it, and free it with
 * its edges.  A switch, trunk or antispoof must have no edges left (-EBUSY); what a brick
 * was created "to" goes after it.
 * Not from within an event thread.
 */
int vb_brick_destroy(struct vb_brick *brick);

/* "Peer" is the host's side of a brick: the guest, or the kernel interface.
 * A switch, trunk or antispoof has none and uses only the drops.  What a brick makes
 * itself are copies of flooded packets, beyond the first, and announcements; so over all
 * bricks at rest, and those that are gone, from_peer + made = to_peer + drops, but for what
 * a device says that it failed to send.
 */
struct vb_stats {
	uint64_t from_peer_packets;
	uint64_t from_peer_bytes;
	uint64_t to_peer_packets;
	uint64_t to_peer_bytes;
	uint64_t made_packets;
	uint64_t drops[VB_DROPS_MAX];
};

/* Counters since the brick was created; they only grow. */
void vb_brick_stats(struct vb_brick *brick, struct vb_stats *out);

/* The counters of all bricks that are no more. */
void vb_gone_stats(struct vb_stats *out);

/* Packet buffers in use; with nothing on its way those that wait for packets. */
uint32_t vb_buffers_in_use(void);

/* The number of edges that the workers serve now. */
uint32_t vb_brick_edges(struct vb_brick *brick);

/* The name and the meaning of a drop reason; NULL at and beyond the last.  Static. */
const char *vb_drop_name(uint32_t reason);
const char *vb_drop_meaning(uint32_t reason);

/* The name, meaning and cure of a fault; NULL at and beyond the last.  Static. */
const char *vb_fault_name(uint32_t fault);
const char *vb_fault_meaning(uint32_t fault);
const char *vb_fault_hint(uint32_t fault);

/* The same of where a brick with a choice sends a packet; the first is none, "". */
const char *vb_decision_name(uint32_t decision);
const char *vb_decision_meaning(uint32_t decision);

/* ---- probes: seeing what passes at a brick ----
 *
 * Of a port (vhost) or an uplink (tap, nic, vxlan), between it and what it is joined to.
 * They cost nothing where there are none, and never a packet.
 */

#define VB_FILTER_MAX 512 /* instructions of a filter */

/* Classic BPF, as "tcpdump -ddd" prints it and the kernel takes it, over Ethernet frames.
 * It sees the first 512 bytes of a frame at least.
 */
struct vb_filter_insn {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct vb_filter {
	const struct vb_filter_insn *insns; /* the caller's, copied by who is given it */
	uint32_t nb_insns;		    /* 0: every packet passes */
};

struct vb_capture_config {
	struct vb_filter filter;
	bool from_peer, to_peer; /* the directions that are wanted */
	uint32_t snaplen;	 /* bytes of a packet that are kept; 0: all */
	uint64_t max_packets;	 /* it ends with so many; 0: any number */
	uint64_t max_ns;	 /* it ends after so long; 0: never */
	uint32_t buffer;	 /* bytes of memory for packets that wait for the reader */
};

/* A capture: what passes at a brick, as pcapng. */
struct vb_capture;

/* Capture from now on, into its buffer.  A packet that finds it full is not captured, and is
 * counted; it goes its way as the others do.  What is to be delivered to the brick's host's
 * side is captured before that is tried.  A brick may have several captures.
 * -EINVAL: the filter is no valid program, or there is no direction.  -ENOMEM.
 */
int vb_capture_start(
	struct vb_brick *brick, const struct vb_capture_config *config, struct vb_capture **out);

/* Write it to fd, a socket or pipe that is taken over (on failure too) and made
 * non-blocking, until a limit of the configuration is reached, fd is closed at its other end,
 * the brick is destroyed or the capture is stopped.  Then fd is closed, after the block that
 * tells what was captured and what was not.  Once.  -errno.
 */
int vb_capture_deliver(struct vb_capture *capture, int fd);

/* End it, if it has not ended, and let go of it; what it has captured is still delivered, to
 * a reader who takes it.
 */
void vb_capture_stop(struct vb_capture *capture);

#define VB_TRACE_MAX 1000 /* packets of a trace */
#define VB_VISITS_MAX 96  /* of bricks by one packet; more are only counted */
#define VB_TRACE_HEAD 96  /* bytes of a packet that are told */

/* A packet, or a copy that a switch made of it, at a brick. */
struct vb_visit {
	char brick[VB_NAME_MAX];
	uint32_t depth;	    /* 0: joined to where it came from; else of a brick before it */
	uint32_t decision;  /* for vb_decision_name(); none if it was dropped */
	uint32_t delivered; /* packets, more than one if the brick made segments of it */
	uint32_t dropped;   /* the same */
	uint32_t drop;	    /* for vb_drop_name(), if any were dropped */
};

/* A packet from the host's side of a brick, and where it went, in that order. */
struct vb_traced {
	uint64_t time;
	uint32_t worker;    /* VB_WORKERS_MAX or more: none, we made it ourselves */
	uint32_t length;    /* bytes of the packet */
	uint32_t nb_head;   /* of which so many are told */
	uint32_t nb_visits; /* that are told */
	uint32_t nb_untold; /* visits beyond them */
	uint8_t head[VB_TRACE_HEAD];
	struct vb_visit visits[VB_VISITS_MAX];
};

struct vb_trace;

/* Follow the next n packets (1 to VB_TRACE_MAX) that pass the filter from the host's side of
 * a brick through the graph.  Packets that the host thread or a driver holds back
 * are followed as far as to there.  -EINVAL.  -EBUSY: the brick is being traced.  -ENOMEM.
 */
int vb_trace_start(
	struct vb_brick *brick, uint32_t n, const struct vb_filter *filter, struct vb_trace **out);

/* Move up to max packets to out and return how many; never blocks.  *ended: there will be no
 * more, because there were n or because the brick was destroyed.
 */
uint32_t vb_trace_read(struct vb_trace *trace, struct vb_traced *out, uint32_t max, bool *ended);

/* Follow no more, and let go of it. */
void vb_trace_stop(struct vb_trace *trace);

struct vb_worker_stats {
	uint64_t polls;
	uint64_t busy_polls;  /* rounds that found a packet */
	uint64_t busy_cycles; /* TSC cycles in them */
	uint64_t cycles;      /* TSC cycles since the start */
	uint64_t sleeps;      /* how often it went to sleep, having nothing to do */
	int32_t core;	      /* -1: not pinned */
};

/* Return -ENOENT beyond the last worker. */
int vb_worker_stats(uint32_t worker, struct vb_worker_stats *out);

/* For benchmarks: what a packet costs on a worker, from the poll that fetched it until it is
 * delivered and freed, in TSC cycles.
 */
struct vb_worker_cost {
	uint64_t polls;	       /* of a brick's edge, that found a packet */
	uint64_t packets;      /* in them */
	uint64_t cycles;       /* for them */
	uint64_t full_polls;   /* those with a full burst or, of several queues, more */
	uint64_t full_packets; /* in them */
	uint64_t empty_polls;  /* that found none */
	uint64_t empty_cycles; /* in them */
	uint32_t median;       /* cycles a packet, over full polls; 0: there was none */
};

/* Measure from now on, from nothing, or no longer (as at the start): it costs two readings
 * of the TSC a poll.  What was measured can be read until the next beginning.
 */
void vb_workers_measure(bool on);

/* Return -ENOENT beyond the last worker. */
int vb_worker_cost(uint32_t worker, struct vb_worker_cost *out);

/* ---- two processes: one serves, the other stands by ---- */

/* Serving: tell the process at the other end of fd, a connected SOCK_SEQPACKET socket,
 * of all sessions, now and from now on.  fd is taken over, on failure too; a second call
 * lets go of the first one.  A standby that does not read is let go of.
 */
int vb_lead(int fd);

/* Serving: whether somebody follows and knows all. */
bool vb_leading(void);

/* Serving: let go of all guests.  Workers leave the rings, sockets stay as they are for
 * who follows.  Captures that were stopped are written first, by readers who take them within
 * a second.  The process can do nothing after it but exit, at once.
 */
void vb_let_go(void);

/* Standing by: learn of the sessions of the serving process, which leads at the other end
 * of fd; fd is taken over, on failure too.  A second call forgets what the first one
 * told.  -EALREADY: this process serves.
 */
int vb_follow(int fd);

/* Standing by: a descriptor, ours, that is readable once the serving process is dead: none
 * of its threads will touch a guest again.  The kernel lets go of its locks on files only
 * when it has taken all of it apart, which lasts.  -errno.  Before vb_follow().
 */
int vb_ended_fd(void);

struct vb_followed {
	bool in_sync;	   /* all that the serving process has is known here */
	uint32_t sessions; /* that could be taken over */
	int64_t silence;   /* ns since its last sign of life; -1: nobody is followed */
};

void vb_followed(struct vb_followed *out);

struct vb_take_over {
	uint32_t adopted; /* sessions whose frontends notice nothing */
	uint32_t closed;  /* sessions whose frontends have to connect again */
};

/* Standing by: the serving process is dead, the caller has made sure of that.  Serve
 * its sessions and all ports.  Once.  -EALREADY: this process serves.
 */
int vb_take_over(struct vb_take_over *out);

/* ---- events ---- */

enum vb_event_kind {
	VB_EVENT_SESSION_CONNECTED = 0,
	VB_EVENT_SESSION_RUNNING = 1,
	VB_EVENT_SESSION_STOPPED = 2,
	VB_EVENT_SESSION_CLOSED = 3,
	VB_EVENT_QUEUES_CHANGED = 4,
	VB_EVENT_FAULT = 5,
	VB_EVENT_FAULT_CLEARED = 6,
	VB_EVENT_LOST = 7, /* events were dropped before this one: read the state again */
	VB_EVENT_SESSION_ADOPTED = 8,	 /* taken over from a process that served it before */
	VB_EVENT_SESSION_NEGOTIATED = 9, /* its frontend has accepted features */
};

struct vb_event {
	uint64_t time;
	uint64_t session;  /* its number, or 0 */
	uint64_t features; /* that its frontend has accepted */
	uint32_t kind;	   /* enum vb_event_kind */
	uint32_t queues;   /* enabled queue pairs */
	uint32_t fault;	   /* for vb_fault_name(); why a session was closed, or 0 */
	int32_t pid;	   /* of a session that begins: the process at the other end, */
	uint32_t uid;	   /* and its user */
	char brick[VB_NAME_MAX];
};

/* An eventfd, readable while vb_events() has something.  Owned by the library. */
int vb_event_fd(void);

/* Move up to max events to out and return how many; never blocks. */
uint32_t vb_events(struct vb_event *out, uint32_t max);

/* ffi: end */

#endif
