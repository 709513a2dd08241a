/* SPDX-License-Identifier: Apache-2.0
 *
 * The load of bench/forward.py: two VMs, "a" and "b", each a virtio-user port, that send
 * to each other as fast as they can; or four, two of them senders.
 *
 *   generator [EAL options: --vdev=net_virtio_user..., two or four] -- QUEUES RING_SIZE
 *
 * Sending must cost little, or it would be the sender that is measured.  Every packet
 * buffer of a queue holds a ready frame; sending is taking buffers out of the pool, where
 * the driver puts them back, and nobody writes to them.  (Buffers sent again by a raised
 * reference count would make the driver put the virtio header into a descriptor of its own,
 * which guests do not.)  Received frames are freed in bulk, unread.
 *
 * So frames lie in the worker's own cache, and copying them is nearly free.  A guest that
 * does something with its frames has them in the cache of its own core: "fresh" frames are
 * written to, once in each cache line, before they are sent, and read so when received.
 *
 * Two workers that take both cores of a machine leave none to the load.  So with a thread on
 * each core (two lcores) it shares the cores with them: its threads take all cores at once,
 * by a real-time priority, fill the senders' rings while no worker runs, and leave the cores
 * for TURN_PAUSE_US.  Then all workers begin at the same moment and have full rings to empty,
 * with nobody beside them: they get into each other's way as much as they ever do.  Three
 * eighths of a ring are sent at a time, so that a receiver has room for what two senders send,
 * and for what was left over if a worker was interrupted.
 *
 * The main thread polls; another one does what lines on stdin say, and answers each by
 * a line of JSON:
 *   traffic FRAME FLOWS BOTH FRESH   send frames of so many bytes, from a to b or both ways
 *   share FRAME FRESH ONE LCORE...   take turns on the cores with the workers; each sender is
 *                                    a thread's, and sends to a VM of its own or (ONE) all
 *                                    send to the same one
 *   stop                             send no more, and sleep
 *   counters                         frames sent and received, by port, since the start
 *   latency COUNT GAP_US             one frame at a time from a to b: how long it takes
 * A flow is a UDP source port, and belongs to one queue pair.
 */
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/count.h"

#define PORTS_MAX 4
#define SENDERS_MAX (PORTS_MAX / 2)
#define QUEUES_MAX 16
#define BURST 32
#define POOL_CACHE 256
#define FRAME_MIN 60
#define FRAME_MAX 1518
#define LATENCY_MAX 100000
#define LOST_US 100000 /* a frame that takes longer */
#define TOUCH_AT 48    /* of each cache line: beyond the headers */
#define TURN_PAUSE_US 300

struct frames {
	uint16_t port, queue; /* what they are for */
	uint16_t to;
	uint16_t size;
	uint32_t flows;
};

/* The first half of ports is that of a, the second half that of b. */
static uint16_t nb_ports, nb_queues, ring_size;
static struct rte_mempool *tx_pools[PORTS_MAX][QUEUES_MAX];

/* What the polling thread shall do: written under "wanted", which it takes over. */
enum work { WORK_REST, WORK_TRAFFIC, WORK_SHARE, WORK_LATENCY };
static uint32_t wanted, doing; /* atomic; enum work */
static bool both_ways, fresh;
static uint32_t nb_flows;
static unsigned int lcores[SENDERS_MAX];	      /* of senders, if cores are shared */
static uint64_t sent[PORTS_MAX], received[PORTS_MAX]; /* atomic */
static uint32_t meetings;			      /* atomic; how often a thread has come */
static bool last_turn;				      /* told between two meetings */

static double latencies_us[LATENCY_MAX];
static uint32_t latency_count, latency_gap_us, latency_lost;

static uint16_t peer_of(uint16_t port)
{
	return (port + nb_ports / 2) % nb_ports;
}

/* ---- the polling thread ---- */

static void write_all(struct rte_mbuf **pkts, uint16_t n)
{
	static __thread uint64_t number;

	for (uint16_t i = 0; i < n; i++, number++)
		for (uint32_t at = TOUCH_AT; at + sizeof(number) <= pkts[i]->data_len;
			at += RTE_CACHE_LINE_SIZE)
			*rte_pktmbuf_mtod_offset(pkts[i], uint64_t *, at) = number;
}

static void read_all(struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		for (uint32_t at = TOUCH_AT; at + sizeof(uint64_t) <= pkts[i]->data_len;
			at += RTE_CACHE_LINE_SIZE)
			(void)*rte_pktmbuf_mtod_offset(pkts[i], volatile uint64_t *, at);
}

static uint32_t receive(uint16_t port)
{
	uint32_t total = 0;

	for (uint16_t queue = 0; queue < nb_queues; queue++) {
		struct rte_mbuf *pkts[BURST];
		uint16_t n = rte_eth_rx_burst(port, queue, pkts, BURST);

		if (n == 0)
			continue;
		if (fresh)
			read_all(pkts, n);
		rte_pktmbuf_free_bulk(pkts, n);
		total += n;
	}
	vb_count(&received[port], total);
	return total;
}

static uint16_t transmit(uint16_t port, uint16_t queue, uint16_t n)
{
	struct rte_mempool *pool = tx_pools[port][queue];
	struct rte_mbuf *pkts[BURST];
	uint16_t took;

	if (rte_mempool_get_bulk(pool, (void **)pkts, n) != 0)
		return 0;
	if (fresh)
		write_all(pkts, n);
	took = rte_eth_tx_burst(port, queue, pkts, n);
	if (took < n)
		rte_mempool_put_bulk(pool, (void **)&pkts[took], n - took);
	vb_count(&sent[port], took);
	return took;
}

static void receive_all(void)
{
	for (uint16_t port = 0; port < nb_ports; port++)
		receive(port);
}

static void send_bursts(uint16_t port)
{
	for (uint16_t queue = 0; queue < nb_queues && queue < nb_flows; queue++)
		transmit(port, queue, BURST);
}

static void traffic_round(void)
{
	/* What is to be received first: a full ring would make the switch drop. */
	receive_all();
	send_bursts(0);
	receive_all();
	if (both_ways)
		send_bursts(1);
}

/* Wait until all threads have come. */
static void meet(void)
{
	uint32_t nb = rte_lcore_count();
	uint32_t number = __atomic_fetch_add(&meetings, 1, __ATOMIC_ACQ_REL);
	uint32_t all = (number / nb + 1) * nb;

	while (__atomic_load_n(&meetings, __ATOMIC_ACQUIRE) < all)
		rte_pause();
}

/* Take what has come to the sender and to his peer, and fill his ring. */
static void fill_ring(uint16_t sender)
{
	while (receive(sender) + receive(peer_of(sender)) > 0)
		;
	for (uint16_t n = BURST; n <= ring_size * 3 / 8; n += BURST)
		transmit(sender, 0, BURST);
}

static void set_urgent(bool on)
{
	const struct sched_param param = {.sched_priority = on ? 1 : 0};

	if (pthread_setschedparam(pthread_self(), on ? SCHED_FIFO : SCHED_OTHER, &param) != 0)
		rte_exit(1, "generator: may not have a real-time priority\n");
}

static int take_turns(void *arg)
{
	bool last;

	RTE_SET_USED(arg);
	set_urgent(true);
	do {
		/* From here on no worker runs. */
		meet();
		if (rte_lcore_id() == rte_get_main_lcore())
			last_turn = __atomic_load_n(&wanted, __ATOMIC_ACQUIRE) != WORK_SHARE;
		for (uint16_t sender = 0; sender < nb_ports / 2; sender++)
			if (lcores[sender] == rte_lcore_id())
				fill_ring(sender);
		meet();
		last = last_turn;
		usleep(TURN_PAUSE_US);
	} while (!last);
	set_urgent(false);
	return 0;
}

static void share_cores(void)
{
	meetings = 0;
	rte_eal_mp_remote_launch(take_turns, NULL, CALL_MAIN);
	rte_eal_mp_wait_lcore();
}

/* Send one frame from a; return the cycles until b had it, or 0. */
static uint64_t time_one(uint64_t patience)
{
	uint64_t begin = rte_rdtsc(), now;

	if (transmit(0, 0, 1) == 0)
		return 0;
	do {
		uint32_t n = receive(1);

		now = rte_rdtsc();
		if (n > 0)
			return now - begin;
	} while (now - begin < patience);
	return 0;
}

static void measure_latency(void)
{
	double cycles_per_us = rte_get_tsc_hz() / 1e6;

	latency_lost = 0;
	for (uint32_t i = 0; i < latency_count; i++) {
		uint64_t took = time_one(LOST_US * cycles_per_us), end;

		latencies_us[i] = took / cycles_per_us;
		latency_lost += took == 0;
		end = rte_rdtsc() + latency_gap_us * cycles_per_us;
		while (rte_rdtsc() < end)
			receive(1);
	}
}

/* Let all be known to a switch that learns. */
static void introduce(void)
{
	for (uint16_t port = 0; port < nb_ports; port++) {
		uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 100;

		transmit(port, 0, 1);
		while (rte_rdtsc() < end)
			receive_all();
	}
}

static void poll_for_ever(void)
{
	for (;;) {
		uint32_t want = __atomic_load_n(&wanted, __ATOMIC_ACQUIRE);

		if (want != doing && want != WORK_REST)
			introduce();
		__atomic_store_n(&doing, want, __ATOMIC_RELEASE);
		if (want == WORK_TRAFFIC) {
			traffic_round();
			continue;
		}
		if (want == WORK_SHARE) {
			share_cores();
			continue;
		}
		if (want == WORK_LATENCY) {
			measure_latency();
			__atomic_store_n(&wanted, WORK_REST, __ATOMIC_RELEASE);
			continue;
		}
		receive_all();
		usleep(1000);
	}
}

/* ---- the other thread: frames ---- */

static void fill(struct rte_mempool *pool, void *arg, void *obj, unsigned int index)
{
	const struct frames *f = arg;
	/* Of the flows that are this queue's, one after the other. */
	uint32_t mine = (f->flows + nb_queues - 1 - f->queue) / nb_queues;
	uint32_t flow = f->queue + nb_queues * (mine > 0 ? index % mine : 0);
	struct rte_mbuf *m = obj;
	struct rte_ether_hdr *ether = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	struct rte_ipv4_hdr *ip = (void *)(ether + 1);
	struct rte_udp_hdr *udp = (void *)(ip + 1);

	RTE_SET_USED(pool);
	memset(ether, 0, f->size);
	rte_eth_macaddr_get(f->port, &ether->src_addr);
	rte_eth_macaddr_get(f->to, &ether->dst_addr);
	ether->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	ip->version_ihl = RTE_IPV4_VHL_DEF;
	ip->total_length = rte_cpu_to_be_16(f->size - sizeof(*ether));
	ip->time_to_live = 64;
	ip->next_proto_id = IPPROTO_UDP;
	ip->src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 0, 1 + f->port));
	ip->dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 0, 1 + f->to));
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	udp->src_port = rte_cpu_to_be_16(1024 + flow);
	udp->dst_port = RTE_BE16(9);
	udp->dgram_len = rte_cpu_to_be_16(f->size - sizeof(*ether) - sizeof(*ip));
	m->data_len = f->size;
	m->pkt_len = f->size;
}

/* Fill all buffers, those that are on their way too: nobody sends now.
 * One receiver: the first sender's peer.
 */
static void fill_all(uint16_t size, uint32_t flows, bool one_receiver)
{
	for (uint16_t port = 0; port < nb_ports; port++) {
		bool sends = port < nb_ports / 2;
		uint16_t to = one_receiver && sends ? peer_of(0) : peer_of(port);

		for (uint16_t queue = 0; queue < nb_queues; queue++) {
			struct frames f = {port, queue, to, size, flows};

			rte_mempool_obj_iter(tx_pools[port][queue], fill, &f);
		}
	}
}

/* ---- commands ---- */

static void set_work(enum work work)
{
	__atomic_store_n(&wanted, work, __ATOMIC_RELEASE);
	while (__atomic_load_n(&doing, __ATOMIC_ACQUIRE) != (uint32_t)work)
		usleep(100);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void latency(uint32_t count, uint32_t gap_us)
{
	uint32_t got;

	latency_count = count;
	latency_gap_us = gap_us;
	fill_all(64, 1, false);
	__atomic_store_n(&wanted, WORK_LATENCY, __ATOMIC_RELEASE);
	while (__atomic_load_n(&wanted, __ATOMIC_ACQUIRE) != WORK_REST)
		usleep(1000);
	qsort(latencies_us, count, sizeof(latencies_us[0]), by_size);
	got = count - latency_lost; /* lost ones are 0: they come first */
	printf("{\"lost\":%u,\"median_us\":%.3f,\"p99_us\":%.3f}\n", latency_lost,
		got > 0 ? latencies_us[latency_lost + got / 2] : 0.0,
		got > 0 ? latencies_us[latency_lost + (uint32_t)(got * 0.99)] : 0.0);
}

static void tell_counters(void)
{
	printf("{\"tsc_s\":%.9f,\"ports\":[", rte_rdtsc() / (double)rte_get_tsc_hz());
	for (uint16_t port = 0; port < nb_ports; port++)
		printf("%s{\"tx\":%lu,\"rx\":%lu}", port > 0 ? "," : "",
			vb_count_read(&sent[port]), vb_count_read(&received[port]));
	printf("]}\n");
}

static void obey_line(const char *line)
{
	unsigned int first, second, third, fourth, fifth;

	if (sscanf(line, "traffic %u %u %u %u", &first, &second, &third, &fourth) == 4 &&
		first >= FRAME_MIN && first <= FRAME_MAX && second >= 1) {
		set_work(WORK_REST);
		fill_all(first, second, false);
		nb_flows = second;
		both_ways = third;
		fresh = fourth;
		set_work(WORK_TRAFFIC);
		printf("{}\n");
	} else if (sscanf(line, "share %u %u %u %u %u", &first, &second, &third, &fourth,
			   &fifth) == 5 &&
		   first >= FRAME_MIN && first <= FRAME_MAX && rte_lcore_count() > 1) {
		set_work(WORK_REST);
		fill_all(first, 1, third);
		fresh = second;
		lcores[0] = fourth;
		lcores[1] = fifth;
		set_work(WORK_SHARE);
		printf("{}\n");
	} else if (sscanf(line, "latency %u %u", &first, &second) == 2 && first >= 1 &&
		   first <= LATENCY_MAX) {
		set_work(WORK_REST);
		latency(first, second);
	} else if (strcmp(line, "stop\n") == 0) {
		set_work(WORK_REST);
		printf("{}\n");
	} else if (strcmp(line, "counters\n") == 0) {
		tell_counters();
	} else {
		printf("{\"error\":\"no such command\"}\n");
	}
}

static void *obey(void *arg)
{
	char line[128];

	RTE_SET_USED(arg);
	printf("{\"ready\":true,\"pid\":%d,\"tsc_hz\":%lu}\n", getpid(), rte_get_tsc_hz());
	while (fgets(line, sizeof(line), stdin) != NULL)
		obey_line(line);
	_exit(0);
}

/* ---- start ---- */

static struct rte_mempool *make_pool(const char *what, uint16_t port, uint16_t queue, uint32_t n)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	struct rte_mempool *pool;

	snprintf(name, sizeof(name), "%s-%u-%u", what, port, queue);
	pool = rte_pktmbuf_pool_create(name, n, POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL)
		rte_exit(1, "generator: no memory for %s\n", name);
	return pool;
}

static void start_port(uint16_t port)
{
	const struct rte_eth_conf conf = {0};
	uint32_t buffers = ring_size + 4 * POOL_CACHE;

	if (rte_eth_dev_configure(port, nb_queues, nb_queues, &conf) != 0)
		rte_exit(1, "generator: port %u takes no %u queues\n", port, nb_queues);
	for (uint16_t queue = 0; queue < nb_queues; queue++) {
		struct rte_mempool *rx = make_pool("rx", port, queue, buffers);

		tx_pools[port][queue] = make_pool("tx", port, queue, buffers);
		if (rte_eth_rx_queue_setup(port, queue, ring_size, 0, NULL, rx) != 0 ||
			rte_eth_tx_queue_setup(port, queue, ring_size, 0, NULL) != 0)
			rte_exit(1, "generator: queue %u of port %u\n", queue, port);
	}
	if (rte_eth_dev_start(port) != 0)
		rte_exit(1, "generator: port %u did not start\n", port);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	pthread_t commands;

	if (used < 0)
		return 1;
	argc -= used;
	argv += used;
	setlinebuf(stdout);
	nb_ports = rte_eth_dev_count_avail();
	if (argc != 3 || (nb_ports != 2 && nb_ports != PORTS_MAX))
		rte_exit(2, "usage: generator [EAL options, 2 or 4 ports] -- QUEUES RING_SIZE\n");
	nb_queues = RTE_MIN(atoi(argv[1]), QUEUES_MAX);
	ring_size = atoi(argv[2]);
	for (uint16_t port = 0; port < nb_ports; port++)
		start_port(port);
	if (rte_ctrl_thread_create(&commands, "commands", NULL, obey, NULL) != 0)
		return 1;
	poll_for_ever();
	return 0;
}
