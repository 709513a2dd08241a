/* SPDX-License-Identifier: Apache-2.0
 *
 * A session: one connected frontend, from its first message to its last.
 *
 * Messages are read whole, checked, told to the standby, handled and answered, one a
 * turn of the loop.  A message that may not be sent ends the connection under a named
 * fault; what else it has set up goes with it, and nobody else's.
 */
#include <errno.h>
#include <inttypes.h>
#include <rte_arp.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "core/clock.h"
#include "core/pool.h"

#define LOG(level, port, format, ...)                                                             \
	rte_log(RTE_LOG_##level, RTE_LOGTYPE_USER1, "%s: " format "\n", (port)->brick->name,      \
		__VA_ARGS__)

/* Frontends in a row that leave before they are ready, until it is a fault. */
#define UNREADY_LIMIT 3

#define SECOND 1000000000ULL
#define STARTS_PER_SECOND 10

/* Messages of a frontend that are refused, until it may not stay any more. */
#define REFUSED_LIMIT 16

/* ---- in the graph ---- */

static void remember_edge(void *arg, uint16_t edge)
{
	struct vhost_session *s = arg;

	s->edge = edge;
	s->port->by_edge[edge] = s;
}

static void start(struct vhost_session *s)
{
	struct vhost_port *port = s->port;
	uint16_t edge;

	s->since = vb_wall_ns();
	vhost_device_serve(&s->device, true);
	pthread_mutex_lock(&vb_lock);
	s->running = vb_graph_join(port->brick, port->to, remember_edge, s, &edge) == 0;
	pthread_mutex_unlock(&vb_lock);
	if (!s->running) {
		vhost_device_serve(&s->device, false);
		vhost_fault(port, VB_FAULT_OUT_OF_RESOURCES);
		return;
	}
	s->was_running = true;
	s->told = s->device.enabled;
	port->unready = 0;
	vhost_fault(port, VB_FAULT_NONE);
	vhost_event(port, s, VB_EVENT_SESSION_RUNNING);
}

static void stop(struct vhost_session *s)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_part(s->port->brick, s->edge);
	s->port->by_edge[s->edge] = NULL;
	pthread_mutex_unlock(&vb_lock);
	vhost_device_serve(&s->device, false);
	s->running = false;
	s->since = vb_wall_ns();
	vhost_event(s->port, s, VB_EVENT_SESSION_STOPPED);
}

/* A frontend may start and stop its rings as fast as it can send, and each time is a new
 * graph, events, and lines in the log: what is too much waits for vhost_watch.c.
 */
static bool may_start(struct vhost_session *s)
{
	struct vhost_conduct *c = &s->conduct;
	uint64_t now = vb_monotonic_ns();

	if (now - c->second >= SECOND) {
		c->second = now;
		c->starts = 0;
	}
	return c->starts++ < STARTS_PER_SECOND;
}

void vhost_session_follow_rings(struct vhost_session *s)
{
	if (s->running && s->device.running == 0)
		stop(s);
	else if (!s->running && s->device.enabled != 0 && may_start(s))
		start(s);
}

/* ---- messages ---- */

/* Let the network know where the guest's address is now (RFC 903, as QEMU does it). */
static void announce(struct vhost_session *s, const uint8_t *mac)
{
	const struct vb_ctx ctx = {.worker = VB_ROW_CONTROL,
		.nb_workers = 1,
		.now_s = rte_rdtsc() / rte_get_tsc_hz()};
	struct rte_ether_addr address;
	struct rte_mbuf *m;

	memcpy(&address, mac, sizeof(address));
	m = rte_net_make_rarp_packet(vb_buffers(), &address);
	if (m == NULL)
		return;
	pthread_mutex_lock(&vb_lock);
	vb_count(&vb_row(&ctx, s->port->brick)->made_packets, 1);
	vb_push(&ctx, &vb_graph_snapshot()->nodes[s->port->brick->node], s->edge, &m, 1);
	pthread_mutex_unlock(&vb_lock);
}

static bool wants_ack(const struct vhost_session *s, uint32_t flags)
{
	return (flags & VHOST_FLAG_NEED_REPLY) != 0 &&
	       (s->device.protocol_features & 1 << VHOST_PROTOCOL_REPLY_ACK) != 0;
}

static bool acknowledge(struct vhost_session *s, bool ok)
{
	struct vhost_message *msg = &s->channel.msg;

	msg->payload.u64 = ok ? 0 : 1;
	msg->header.size = sizeof(msg->payload.u64);
	return vhost_channel_answer(&s->channel, msg);
}

static struct vhost_outcome carry_out(struct vhost_session *s)
{
	struct vhost_message *msg = &s->channel.msg;
	uint32_t request = msg->header.request, nb_fds = s->channel.nb_fds;
	struct vhost_outcome outcome;

	if (vhost_memory_forbids(s, msg)) {
		vhost_channel_discard(&s->channel);
		return (struct vhost_outcome){.fault = s->memory.bad, .refused = true};
	}
	vhost_lead_message(s);
	vhost_memory_note(s, msg);
	s->channel.nb_fds = 0;
	outcome = vhost_device_handle(&s->device, msg, s->channel.fds, nb_fds);
	if (request == VHOST_SET_MEM_TABLE)
		vhost_memory_judge(s, &outcome);
	return outcome;
}

/* Handle the message; returns the fault that ends the session, or VB_FAULT_NONE. */
static enum vb_fault handle(struct vhost_session *s)
{
	struct vhost_message *msg = &s->channel.msg;
	bool ack = wants_ack(s, msg->header.flags), answered;
	uint32_t request = msg->header.request;
	struct vhost_outcome outcome = carry_out(s);

	if (outcome.fault != VB_FAULT_NONE) {
		LOG(ERR, s->port, "session %" PRIu64 ": %s refused", s->number,
			vhost_request_name(request));
		vhost_fault(s->port, outcome.fault);
		if (!outcome.refused || !ack || s->refused++ == REFUSED_LIMIT)
			return outcome.fault;
	}
	if (request == VHOST_SET_FEATURES && outcome.fault == VB_FAULT_NONE)
		vhost_event(s->port, s, VB_EVENT_SESSION_NEGOTIATED);
	vhost_session_follow_rings(s);
	if (outcome.rarp && s->running)
		announce(s, (const uint8_t *)&msg->payload.u64);
	answered = outcome.reply ? vhost_channel_answer(&s->channel, msg)
		   : ack	 ? acknowledge(s, !outcome.refused)
				 : true;
	return answered ? VB_FAULT_NONE : VB_FAULT_FRONTEND_STALLS;
}

static enum vb_fault refuse(struct vhost_session *s)
{
	const struct vhost_header *header = &s->channel.msg.header;

	LOG(ERR, s->port, "session %" PRIu64 ": %s (%u) with %u bytes and %u fds may not be sent",
		s->number, vhost_request_name(header->request), header->request, header->size,
		s->channel.nb_fds);
	return VB_FAULT_BAD_MESSAGE;
}

static void ready(struct vhost_source *source)
{
	struct vhost_session *s = RTE_PTR_SUB(source, offsetof(struct vhost_session, source));
	enum vb_fault fault = VB_FAULT_NONE;

	vhost_lead_begin(s);
	switch (vhost_channel_read(&s->channel)) {
	case VHOST_READ_MORE:
		if (s->channel.since == 0)
			vhost_lead_end(s);
		return;
	case VHOST_READ_CLOSED:
		vhost_session_close(s, VB_FAULT_NONE);
		return;
	case VHOST_READ_MESSAGE:
		if (vhost_message_check(&s->channel.msg, s->channel.nb_fds, s->device.nb_rings)) {
			fault = handle(s);
			break;
		}
		/* fall through */
	case VHOST_READ_BAD:
		fault = refuse(s);
		break;
	}
	if (fault != VB_FAULT_NONE)
		vhost_session_close(s, fault);
	else
		vhost_lead_end(s);
}

/* ---- life ---- */

struct vhost_session *vhost_session_new(int fd, uint64_t offered, uint32_t queues)
{
	struct vhost_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	if (vhost_device_init(&s->device, offered, queues) != 0) {
		free(s);
		return NULL;
	}
	vhost_channel_init(&s->channel, fd);
	s->source = (struct vhost_source){.fd = fd, .ready = ready};
	s->slot = vhost_lead_slot_take();
	return s;
}

void vhost_session_free(struct vhost_session *s)
{
	vhost_lead_slot_give(s->slot);
	vhost_device_fini(&s->device);
	vhost_channel_fini(&s->channel);
	free(s);
}

int vhost_session_attach(struct vhost_session *s, struct vhost_port *port, enum vb_event_kind kind)
{
	static uint64_t last_number;
	int ret = vhost_loop_watch(&s->source);

	if (ret != 0)
		return ret;
	s->port = port;
	s->number = ++last_number;
	s->since = vb_wall_ns();
	s->next = port->sessions;
	port->sessions = s;
	port->nb_sessions++;
	vhost_lead_opened(s);
	vhost_event(port, s, kind);
	vhost_session_follow_rings(s);
	return 0;
}

bool vhost_session_open(struct vhost_port *port, int fd)
{
	struct vhost_session *s;

	if (!vhost_peer_allowed(fd)) {
		vhost_fault(port, VB_FAULT_PEER_DENIED);
		close(fd);
		return false;
	}
	if (port->nb_sessions >= (port->config.client ? 1 : VB_SESSIONS_MAX)) {
		vhost_fault(port, VB_FAULT_TOO_MANY_SESSIONS);
		close(fd);
		return false;
	}
	s = vhost_session_new(fd, port->config.features, port->config.queues);
	if (s == NULL) {
		vhost_fault(port, VB_FAULT_OUT_OF_RESOURCES);
		close(fd);
		return false;
	}
	if (vhost_session_attach(s, port, VB_EVENT_SESSION_CONNECTED) == 0)
		return true;
	vhost_session_free(s);
	vhost_fault(port, VB_FAULT_OUT_OF_RESOURCES);
	return false;
}

static void detach(struct vhost_session *s)
{
	struct vhost_session **p = &s->port->sessions;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	s->port->nb_sessions--;
}

void vhost_session_close(struct vhost_session *s, enum vb_fault fault)
{
	struct vhost_port *port = s->port;
	bool ready = s->was_running && fault == VB_FAULT_NONE,
	     explained = s->memory.bad != VB_FAULT_NONE;

	if (s->running)
		stop(s);
	vhost_loop_unwatch(&s->source);
	/* A standby has the socket open, too. */
	(void)shutdown(s->channel.fd, SHUT_RDWR);
	vhost_lead_closed(s);
	detach(s);
	if (fault != VB_FAULT_NONE)
		vhost_fault(port, fault);
	s->ended_by = fault;
	vhost_event(port, s, VB_EVENT_SESSION_CLOSED);
	vhost_session_free(s);
	if (!ready)
		port->unready++;
	if (fault == VB_FAULT_NONE && !explained && port->unready >= UNREADY_LIMIT)
		vhost_fault(port, VB_FAULT_FRONTEND_LEAVES);
	if (port->config.client)
		vhost_connect_lost(port, ready);
}
