/* SPDX-License-Identifier: Apache-2.0
 *
 * rte_vhost's side of the vhost brick: its callbacks, and our driver calls.
 *
 * Rules of the library (DPDK 22.11) that shape this file:
 * - Callbacks run on its one event thread, and for client-mode ports also on
 *   the thread that called rte_vhost_driver_start(); they must be quick, since
 *   all ports wait meanwhile, and must make no driver call.
 * - vring_state_changed and features_changed run with rings locked that a worker
 *   may be spinning on: they take no lock that is held while waiting for workers.
 * - unregister waits for running callbacks, so it is called with no lock held.
 *   It reports a stopped device, but not a closed connection: sessions left over
 *   are freed here.
 * - start creates the event thread without a lock of its own: ours serialises.
 */
#include <errno.h>
#include <rte_vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bricks/vhost.h"
#include "core/clock.h"
#include "core/nudge.h"

#define UNREADY_LIMIT 3 /* frontends in a row; then it is a fault */

static struct vhost_port *ports; /* vb_lock */
static struct vhost_session *sessions[VHOST_DEVICES_MAX];
static uint64_t last_number;	/* of a session; atomic */
static uint64_t callback_since; /* monotonic ns; 0: none runs; atomic */
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

static void callback_enter(void)
{
	__atomic_store_n(&callback_since, vb_monotonic_ns(), __ATOMIC_RELAXED);
}

static void callback_leave(void)
{
	__atomic_store_n(&callback_since, 0, __ATOMIC_RELAXED);
}

int64_t vb_vhost_callback_age(void)
{
	uint64_t since = __atomic_load_n(&callback_since, __ATOMIC_RELAXED);

	return since == 0 ? 0 : vb_monotonic_ns() - since;
}

/* vb_lock held. */
static struct vhost_port *find_port(const char *path)
{
	struct vhost_port *port = ports;

	while (port != NULL && strcmp(port->config.path, path) != 0)
		port = port->next;
	return port;
}

struct vhost_session *vhost_session_of(int vid)
{
	return vid >= 0 && vid < VHOST_DEVICES_MAX ? sessions[vid] : NULL;
}

struct vhost_session *vhost_session_numbered(uint64_t number)
{
	for (int vid = 0; vid < VHOST_DEVICES_MAX; vid++)
		if (sessions[vid] != NULL && sessions[vid]->number == number)
			return sessions[vid];
	return NULL;
}

static void session_free(struct vhost_session *s)
{
	struct vhost_port *port = s->port;
	struct vhost_session **p = &port->sessions;

	pthread_mutex_lock(&vb_lock);
	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	port->nb_sessions--;
	sessions[s->vid] = NULL;
	pthread_mutex_unlock(&vb_lock);
	vhost_event(port, s, VB_EVENT_SESSION_CLOSED);
	free(s);
}

/* vb_lock held. */
static int session_add(struct vhost_port *port, struct vhost_session *s, int vid)
{
	if (port == NULL)
		return -ENOENT;
	if (port->nb_sessions >= VB_SESSIONS_MAX)
		return -ENOSPC;
	s->port = port;
	s->vid = vid;
	s->number = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED);
	s->since = vb_wall_ns();
	s->next = port->sessions;
	port->sessions = s;
	port->nb_sessions++;
	sessions[vid] = s;
	return 0;
}

/* ---- callbacks ---- */

static int new_connection(int vid)
{
	struct vhost_session *s = calloc(1, sizeof(*s));
	char path[VB_PATH_MAX] = "";
	struct vhost_port *port;
	int ret = -ENOMEM;

	if (s == NULL || vid >= VHOST_DEVICES_MAX ||
		rte_vhost_get_ifname(vid, path, sizeof(path)) != 0 || vhost_msg_register(vid) != 0)
		goto fail;
	pthread_mutex_lock(&vb_lock);
	port = find_port(path);
	ret = session_add(port, s, vid);
	pthread_mutex_unlock(&vb_lock);
	if (ret == -ENOSPC)
		vhost_fault(port, VB_FAULT_TOO_MANY_SESSIONS);
	if (ret == 0) {
		vhost_event(port, s, VB_EVENT_SESSION_CONNECTED);
		return 0;
	}
fail:
	free(s);
	return -1;
}

static void take_features(int vid, struct vhost_session *s)
{
	uint64_t features = 0;

	rte_vhost_get_negotiated_features(vid, &features);
	__atomic_store_n(&s->features, features, __ATOMIC_RELAXED);
}

static int new_device(int vid)
{
	struct vhost_session *s = vhost_session_of(vid);
	int ret;

	if (s == NULL)
		return -1;
	callback_enter();
	take_features(vid, s);
	/* We poll: the guest need not kick. */
	for (uint16_t ring = 0; ring < rte_vhost_get_vring_num(vid); ring++)
		rte_vhost_enable_guest_notification(vid, ring, 0);
	__atomic_store_n(&s->since, vb_wall_ns(), __ATOMIC_RELAXED);
	ret = vhost_session_start(s);
	callback_leave();
	if (ret != 0)
		return -1;
	__atomic_store_n(&s->was_running, true, __ATOMIC_RELAXED);
	s->port->unready = 0;
	vhost_fault(s->port, VB_FAULT_NONE);
	vhost_event(s->port, s, VB_EVENT_SESSION_RUNNING);
	return 0;
}

static void destroy_device(int vid)
{
	struct vhost_session *s = vhost_session_of(vid);

	if (s == NULL)
		return;
	callback_enter();
	vhost_session_stop(s);
	__atomic_store_n(&s->since, vb_wall_ns(), __ATOMIC_RELAXED);
	callback_leave();
	vhost_event(s->port, s, VB_EVENT_SESSION_STOPPED);
}

static void destroy_connection(int vid)
{
	struct vhost_session *s = vhost_session_of(vid);
	struct vhost_port *port;
	bool ready, explained;

	if (s == NULL)
		return;
	port = s->port;
	ready = s->was_running;
	explained = vhost_memory_closed(s);
	session_free(s);
	if (!ready && !explained && ++port->unready >= UNREADY_LIMIT)
		vhost_fault(port, VB_FAULT_FRONTEND_LEAVES);
	if (port->config.client)
		vhost_connect_lost(port, ready);
}

/* Runs with a ring locked: no lock here. */
static int vring_state_changed(int vid, uint16_t ring, int enable)
{
	struct vhost_session *s = vhost_session_of(vid);
	uint64_t bit = 1ULL << (ring / 2 % VB_QUEUES_MAX), before, after;

	if (s == NULL || ring / 2 >= VB_QUEUES_MAX)
		return 0;
	if (enable)
		s->rings[ring % 2] |= bit;
	else
		s->rings[ring % 2] &= ~bit;
	after = s->rings[0] & s->rings[1];
	before = __atomic_exchange_n(&s->enabled, after, __ATOMIC_RELAXED);
	if (before != after && s->was_running)
		vhost_event(s->port, s, VB_EVENT_QUEUES_CHANGED);
	return 0;
}

/* Runs with rings locked: no lock here. */
static int features_changed(int vid, uint64_t features)
{
	struct vhost_session *s = vhost_session_of(vid);

	if (s != NULL)
		__atomic_store_n(&s->features, features, __ATOMIC_RELAXED);
	return 0;
}

static const struct rte_vhost_device_ops callbacks = {
	.new_connection = new_connection,
	.new_device = new_device,
	.destroy_device = destroy_device,
	.destroy_connection = destroy_connection,
	.vring_state_changed = vring_state_changed,
	.features_changed = features_changed,
};

/* ---- driver calls ---- */

int vhost_driver_add(struct vhost_port *port)
{
	int ret = 0;

	pthread_mutex_lock(&vb_lock);
	if (find_port(port->config.path) != NULL) {
		ret = -EADDRINUSE;
	} else {
		port->next = ports;
		ports = port;
	}
	pthread_mutex_unlock(&vb_lock);
	return ret;
}

void vhost_driver_remove(struct vhost_port *port)
{
	struct vhost_port **p = &ports;

	pthread_mutex_lock(&vb_lock);
	while (*p != NULL && *p != port)
		p = &(*p)->next;
	if (*p == port)
		*p = port->next;
	pthread_mutex_unlock(&vb_lock);
	/* No callback runs for this port any more. */
	while (port->sessions != NULL) {
		vhost_session_stop(port->sessions);
		session_free(port->sessions);
	}
}

/* Offer what the port offers, no more.  By taking away from what the library offers by
 * itself: who sets features is taken for a backend of another device, and gets no
 * packets from the library.
 */
static int offer(const char *path, uint64_t features)
{
	uint64_t all = 0;

	if (rte_vhost_driver_get_features(path, &all) != 0 || (features & ~all) != 0)
		return -EIO;
	return rte_vhost_driver_disable_features(path, all & ~features) == 0 ? 0 : -EIO;
}

static int configure(const struct vhost_port *port)
{
	const char *path = port->config.path;

	if (offer(path, port->config.features) != 0)
		return -EIO;
	if (rte_vhost_driver_callback_register(path, &callbacks) != 0)
		return -EIO;
	return rte_vhost_driver_start(path) == 0 ? 0 : -ECONNREFUSED;
}

/* Bind as a rehearsal: when the library fails to, it closes the socket twice. */
static int can_bind(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, path, strlen(path));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		ret = -errno;
	else
		unlink(path);
	close(fd);
	return ret;
}

/* The library's event thread looks at a new listening socket only when its poll()
 * returns, which without other news is once a second.  A frontend would wait.
 */
static void look_again(void)
{
	static pid_t event_thread = -1;

	if (event_thread < 0) {
		vb_nudge_init();
		event_thread = vb_thread_find("vhost-events");
	}
	if (event_thread >= 0)
		vb_nudge(event_thread);
}

int vhost_driver_start(struct vhost_port *port)
{
	uint64_t flags = RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;
	const char *path = port->config.path;
	int ret = 0;

	if (port->config.client)
		flags |= RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT;
	else
		ret = can_bind(path);
	if (ret != 0)
		return ret;
	pthread_mutex_lock(&start_lock);
	if (rte_vhost_driver_register(path, flags) != 0) {
		ret = -ENOSPC;
	} else {
		ret = configure(port);
		if (ret != 0)
			rte_vhost_driver_unregister(path);
	}
	if (ret == 0 && !port->config.client)
		look_again();
	pthread_mutex_unlock(&start_lock);
	return ret == -ECONNREFUSED && !port->config.client ? -EADDRNOTAVAIL : ret;
}

void vhost_driver_stop(struct vhost_port *port)
{
	rte_vhost_driver_unregister(port->config.path);
}
