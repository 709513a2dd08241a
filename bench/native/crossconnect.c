/* SPDX-License-Identifier: Apache-2.0
 *
 * The library's limit: what the ports of even number send goes to the odd one next to
 * it, and back, by nothing but librte_vhost's dequeue, enqueue and free.
 *
 *   crossconnect [EAL options: a main lcore and a worker] -- QUEUES PATH...
 *
 * The main lcore does what a line on stdin says and answers by one line of JSON:
 * "measure" begins to count anew, "read" tells the counters.  Ports connect to their
 * frontends, again and again.  Nothing is fit for hostile guests here.
 */
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cost.h"

#define PORTS_MAX 128
#define MBUFS 16384
#define AWAY (-1)

static struct rte_mempool *pool;
static const char *paths[PORTS_MAX];
static int vids[PORTS_MAX]; /* atomic; AWAY: no frontend */
static uint32_t nb_ports, nb_queues;

static struct vb_cost cost;
static uint64_t measurement; /* atomic; the number of the present one */
static uint64_t rounds;	     /* atomic */
static uint64_t had_rounds;  /* when the measurement began */

/* ---- the worker ---- */

static void forward(int from, int to, uint16_t queue)
{
	struct rte_mbuf *pkts[VB_COST_BURST];
	uint64_t before = rte_rdtsc();
	uint16_t n = rte_vhost_dequeue_burst(from, 2 * queue + 1, pool, pkts, VB_COST_BURST);

	if (n > 0) {
		if (likely(to != AWAY))
			rte_vhost_enqueue_burst(to, 2 * queue, pkts, n);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	vb_cost_add(&cost, rte_rdtsc() - before, n);
}

static int worker_main(void *arg)
{
	uint64_t measured = 0;

	(void)arg;
	for (;;) {
		uint64_t number = __atomic_load_n(&measurement, __ATOMIC_RELAXED);

		if (unlikely(number != measured)) {
			vb_cost_reset(&cost);
			measured = number;
		}
		for (uint32_t port = 0; port < nb_ports; port++) {
			int from = __atomic_load_n(&vids[port], __ATOMIC_ACQUIRE);
			int to = __atomic_load_n(&vids[port ^ 1], __ATOMIC_ACQUIRE);

			for (uint32_t queue = 0; from != AWAY && queue < nb_queues; queue++)
				forward(from, to, queue);
		}
		__atomic_store_n(&rounds, rounds + 1, __ATOMIC_RELEASE);
	}
	return 0;
}

/* ---- frontends: the library's thread calls ---- */

static int *slot_of(int vid)
{
	char path[PATH_MAX];

	rte_vhost_get_ifname(vid, path, sizeof(path));
	for (uint32_t port = 0; port < nb_ports; port++)
		if (strcmp(paths[port], path) == 0)
			return &vids[port];
	abort();
}

static int new_device(int vid)
{
	for (uint32_t queue = 0; queue < 2 * nb_queues; queue++)
		rte_vhost_enable_guest_notification(vid, queue, 0);
	__atomic_store_n(slot_of(vid), vid, __ATOMIC_RELEASE);
	return 0;
}

static void destroy_device(int vid)
{
	uint64_t round = __atomic_load_n(&rounds, __ATOMIC_ACQUIRE);

	__atomic_store_n(slot_of(vid), AWAY, __ATOMIC_RELEASE);
	while (__atomic_load_n(&rounds, __ATOMIC_ACQUIRE) < round + 2)
		usleep(100);
}

static const struct rte_vhost_device_ops ops = {
	.new_device = new_device,
	.destroy_device = destroy_device,
};

static void connect_to(uint32_t port, const char *path)
{
	paths[port] = path;
	vids[port] = AWAY;
	if (rte_vhost_driver_register(
		    path, RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS) != 0 ||
		rte_vhost_driver_callback_register(path, &ops) != 0 ||
		rte_vhost_driver_start(path) != 0)
		rte_exit(1, "crossconnect: %s\n", path);
}

/* ---- commands ---- */

static void tell(void)
{
	printf("{\"workers\":[{\"polls\":%lu,\"packets\":%lu,\"cycles\":%lu,\"full_polls\":%lu,"
	       "\"full_packets\":%lu,\"empty_polls\":%lu,\"empty_cycles\":%lu,\"median\":%u,"
	       "\"rounds\":%lu}]}\n",
		vb_count_read(&cost.polls), vb_count_read(&cost.packets),
		vb_count_read(&cost.cycles), vb_count_read(&cost.full_polls),
		vb_count_read(&cost.full_packets), vb_count_read(&cost.empty_polls),
		vb_count_read(&cost.empty_cycles), vb_cost_median(&cost),
		vb_count_read(&rounds) - had_rounds);
}

static void obey(void)
{
	char line[64];

	printf("{\"ready\":true,\"pid\":%d}\n", getpid());
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (strcmp(line, "measure\n") == 0) {
			had_rounds = vb_count_read(&rounds);
			__atomic_store_n(&measurement, measurement + 1, __ATOMIC_RELAXED);
			printf("{}\n");
		} else if (strcmp(line, "read\n") == 0) {
			tell();
		} else {
			printf("{\"error\":\"no such command\"}\n");
		}
	}
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);

	if (used < 0)
		return 1;
	argc -= used;
	argv += used;
	setlinebuf(stdout);
	if (argc < 4 || argc - 2 > PORTS_MAX || (argc - 2) % 2 != 0)
		rte_exit(2, "usage: crossconnect [EAL options] -- QUEUES PATH PATH...\n");
	pool = rte_pktmbuf_pool_create(
		"packets", MBUFS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, rte_socket_id());
	if (pool == NULL)
		rte_exit(1, "crossconnect: no memory for packets\n");
	nb_queues = atoi(argv[1]);
	nb_ports = argc - 2;
	for (uint32_t port = 0; port < nb_ports; port++)
		connect_to(port, argv[2 + port]);
	if (rte_eal_remote_launch(worker_main, NULL, rte_get_next_lcore(-1, 1, 0)) != 0)
		rte_exit(1, "crossconnect: no worker\n");
	obey();
	_exit(0);
}
