/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <rte_alarm.h>
#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>

#include "output.h"
#include "poller.h"
#include "port.h"

#define POOL_CACHE 256
#define QUIET_US 2000 /* without a change of the link, before a device is stopped */

/* The bus spins on a lock of its own while one device waits: queue up here. */
static pthread_mutex_t bus_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const state_names[] = {
	[PORT_ATTACHING] = "attaching",
	[PORT_ATTACHED] = "attached",
	[PORT_CLOSED] = "closed",
};

const char *port_state_name(enum port_state state)
{
	return state_names[state];
}

/* ---- polling ---- */

unsigned int port_poll(struct port *port, uint64_t now)
{
	struct rte_mbuf *mbufs[BURST];
	unsigned int moved = 0;

	for (uint16_t q = 0; q < port->args.queues; q++) {
		uint16_t n = rte_eth_rx_burst(port->id, q, mbufs, BURST);

		if (n == 0)
			continue;
		check_burst(&port->checker, mbufs, n, now);
		rte_pktmbuf_free_bulk(mbufs, n);
		moved += n;
	}
	return moved + stream_poll(&port->stream, port->id, port->args.queues, port->tx_pool, now);
}

static void begin_polling(void *arg)
{
	poller_add(arg);
}

static void end_polling(void *arg)
{
	struct port *port = arg;

	poller_remove(port);
	stream_drop_pending(&port->stream);
}

/* ---- link state ---- */

static void set_state(struct port *port, enum port_state state, bool link)
{
	pthread_mutex_lock(&port->lock);
	port->state = state;
	port->link = link;
	pthread_cond_broadcast(&port->changed);
	pthread_mutex_unlock(&port->lock);
}

void port_status(struct port *port, enum port_state *state, bool *link)
{
	pthread_mutex_lock(&port->lock);
	*state = port->state;
	*link = port->link;
	pthread_mutex_unlock(&port->lock);
}

static bool is_closing(struct port *port)
{
	bool closing;

	pthread_mutex_lock(&port->lock);
	closing = port->closing;
	pthread_mutex_unlock(&port->lock);
	return closing;
}

static bool link_is_up(const struct port *port)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(port->id, &link) == 0 &&
	       link.link_status == RTE_ETH_LINK_UP;
}

static int on_link_change(uint16_t id, enum rte_eth_event_type type, void *arg, void *ret)
{
	struct port *port = arg;
	bool up = link_is_up(port);

	RTE_SET_USED(id);
	RTE_SET_USED(type);
	RTE_SET_USED(ret);
	port->link_changed = rte_rdtsc();
	set_state(port, PORT_ATTACHED, up);
	output_line("{\"event\":\"link\",\"port\":\"%s\",\"up\":%s}", port->args.name,
		up ? "true" : "false");
	return 0;
}

/* The next device gets the same id, and would inherit our callback. */
static void forget_link_changes(struct port *port)
{
	while (rte_eth_dev_callback_unregister(
		       port->id, RTE_ETH_EVENT_INTR_LSC, on_link_change, port) == -EAGAIN)
		usleep(100); /* it is running */
}

struct quiesce {
	struct port *port;
	sem_t done;
};

/*
 * Stops the device, in the thread that handles its interrupts.  The driver
 * finishes a reconnect or a disconnect in an alarm of its own, a microsecond
 * after the interrupt: stopped in between, that alarm would register an
 * interrupt nobody removes again, and EAL ends a process for that.
 */
static void stop_when_quiet(void *arg)
{
	struct quiesce *q = arg;
	uint64_t quiet = rte_get_tsc_hz() / 1000000 * QUIET_US;

	if (rte_rdtsc() - q->port->link_changed < quiet &&
		rte_eal_alarm_set(QUIET_US, stop_when_quiet, q) == 0)
		return;
	rte_eth_dev_stop(q->port->id);
	sem_post(&q->done);
}

static void quiesce(struct port *port)
{
	struct quiesce q = {.port = port};

	sem_init(&q.done, 0, 0);
	if (rte_eal_alarm_set(QUIET_US, stop_when_quiet, &q) == 0)
		while (sem_wait(&q.done) != 0)
			; /* interrupted by a signal */
	sem_destroy(&q.done);
	forget_link_changes(port);
}

/* ---- attach and detach ---- */

static void vdev_name(const struct port *port, char *name, size_t size)
{
	snprintf(name, size, "net_virtio_user_%s", port->args.name);
}

static void vdev_args(const struct port *port, char *text, size_t size)
{
	const struct port_args *a = &port->args;
	char mac[RTE_ETHER_ADDR_FMT_SIZE];

	rte_ether_format_addr(mac, sizeof(mac), &a->mac);
	snprintf(text, size, "path=%s,server=%d,queues=%u,queue_size=%u,mac=%s%s%s", a->path,
		a->server, a->queues, a->queue_size, mac, a->devargs[0] ? "," : "", a->devargs);
}

/* As QEMU does: what a dead listener left behind would make bind() fail. */
static void remove_stale_socket(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
}

static int setup_queues(struct port *port)
{
	uint16_t size = port->args.queue_size;
	int ret = 0;

	for (uint16_t q = 0; ret == 0 && q < port->args.queues; q++) {
		ret = rte_eth_rx_queue_setup(
			port->id, q, size, SOCKET_ID_ANY, NULL, port->rx_pool);
		if (ret == 0)
			ret = rte_eth_tx_queue_setup(port->id, q, size, SOCKET_ID_ANY, NULL);
	}
	return ret;
}

static int start_device(struct port *port)
{
	struct rte_eth_conf conf = {.intr_conf.lsc = 1};
	int ret;

	ret = rte_eth_dev_configure(port->id, port->args.queues, port->args.queues, &conf);
	if (ret == 0)
		ret = setup_queues(port);
	if (ret == 0)
		ret = rte_eth_dev_callback_register(
			port->id, RTE_ETH_EVENT_INTR_LSC, on_link_change, port);
	if (ret == 0)
		ret = rte_eth_dev_start(port->id);
	return ret;
}

/* Takes the bus, or returns false if the port shall close before it is free. */
static bool take_turn(struct port *port)
{
	while (!is_closing(port)) {
		if (pthread_mutex_trylock(&bus_lock) == 0)
			return true;
		usleep(1000);
	}
	return false;
}

static int attach(struct port *port)
{
	char name[RTE_DEV_NAME_MAX_LEN], args[512];
	int ret;

	vdev_name(port, name, sizeof(name));
	vdev_args(port, args, sizeof(args));
	if (port->args.server)
		remove_stale_socket(port->args.path);
	if (!take_turn(port))
		return -ECANCELED;
	ret = rte_vdev_init(name, args);
	pthread_mutex_unlock(&bus_lock);
	if (ret != 0)
		return ret;
	ret = rte_eth_dev_get_port_by_name(name, &port->id);
	if (ret == 0)
		ret = start_device(port);
	if (ret != 0) {
		quiesce(port);
		rte_vdev_uninit(name);
		return ret;
	}
	poller_call(begin_polling, port);
	return 0;
}

static void detach(struct port *port)
{
	char name[RTE_DEV_NAME_MAX_LEN];

	poller_call(end_polling, port);
	quiesce(port);
	vdev_name(port, name, sizeof(name));
	pthread_mutex_lock(&bus_lock);
	rte_vdev_uninit(name);
	pthread_mutex_unlock(&bus_lock);
}

/* ---- the port's life ---- */

/* Waits until the port shall close or, where we connect, lost its backend. */
static void wait_for_end(struct port *port)
{
	pthread_mutex_lock(&port->lock);
	while (!port->closing && (port->args.server || !port->args.retry_ms || port->link))
		pthread_cond_wait(&port->changed, &port->lock);
	pthread_mutex_unlock(&port->lock);
}

/* Waits before the next attempt; returns false if there shall be none. */
static bool wait_for_retry(struct port *port)
{
	struct timespec until;
	bool again;

	if (port->args.retry_ms == 0)
		return false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)port->args.retry_ms % 1000 * 1000000;
	until.tv_sec += port->args.retry_ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&port->lock);
	if (!port->closing)
		pthread_cond_timedwait(&port->changed, &port->lock, &until);
	again = !port->closing;
	pthread_mutex_unlock(&port->lock);
	return again;
}

static void *port_main(void *arg)
{
	struct port *port = arg;

	do {
		if (attach(port) != 0)
			continue;
		set_state(port, PORT_ATTACHED, link_is_up(port));
		output_line("{\"event\":\"attached\",\"port\":\"%s\"}", port->args.name);
		wait_for_end(port);
		detach(port);
		set_state(port, PORT_ATTACHING, false);
	} while (wait_for_retry(port));
	set_state(port, PORT_CLOSED, false);
	output_line("{\"event\":\"closed\",\"port\":\"%s\",\"asked\":%s}", port->args.name,
		is_closing(port) ? "true" : "false");
	return NULL;
}

static struct rte_mempool *new_pool(const struct port *port, const char *what)
{
	unsigned int n = port->args.queues * (port->args.queue_size + BURST) + 2 * POOL_CACHE;
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "%.20s_%s", port->args.name, what);
	return rte_pktmbuf_pool_create(
		name, n, POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
}

static void port_free(struct port *port)
{
	check_reset(&port->checker);
	rte_mempool_free(port->rx_pool);
	rte_mempool_free(port->tx_pool);
	pthread_cond_destroy(&port->changed);
	pthread_mutex_destroy(&port->lock);
	free(port);
}

struct port *port_new(const struct port_args *args)
{
	struct port *port = calloc(1, sizeof(*port));

	if (port == NULL)
		return NULL;
	port->args = *args;
	pthread_mutex_init(&port->lock, NULL);
	pthread_cond_init(&port->changed, NULL);
	check_init(&port->checker);
	port->stream.args.queue = ALL_QUEUES;
	port->rx_pool = new_pool(port, "rx");
	port->tx_pool = new_pool(port, "tx");
	/* Not pthread_create(): this must not run on the polling core. */
	if (port->rx_pool == NULL || port->tx_pool == NULL ||
		rte_ctrl_thread_create(&port->thread, "port", NULL, port_main, port) != 0) {
		port_free(port);
		return NULL;
	}
	return port;
}

/* accept() in the driver knows no end: be the visitor that it waits for. */
static void visit(const struct port *port)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	memcpy(addr.sun_path, port->args.path, sizeof(port->args.path));
	/* It may not listen yet: the caller comes again. */
	(void)!connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	close(fd);
}

void port_close(struct port *port)
{
	pthread_mutex_lock(&port->lock);
	port->closing = true;
	pthread_cond_broadcast(&port->changed);
	pthread_mutex_unlock(&port->lock);
}

bool port_closed(struct port *port)
{
	enum port_state state;
	bool link;

	port_status(port, &state, &link);
	if (state == PORT_ATTACHING && port->args.server)
		visit(port);
	return state == PORT_CLOSED;
}

void port_delete(struct port *port)
{
	port_close(port);
	while (!port_closed(port))
		usleep(1000);
	pthread_join(port->thread, NULL);
	if (port->args.server)
		remove_stale_socket(port->args.path);
	port_free(port);
}
