/* SPDX-License-Identifier: Apache-2.0
 *
 * The nic brick: two of them wired to each other by rings, where a test sees every
 * packet, and over the kernel's interfaces in a network namespace of its own.
 *
 * A packet stays on one worker while it is between rings of net_ring: TSan does not see
 * how that driver hands it on.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bricks/neigh.h"
#include "bricks/nic.h"
#include "core/runtime.h"
#include "tcp_frame.h"

#define NB_WORKERS 2
#define RING 64
#define LEN 60

/* ---- an end: what a test sends into the graph and gets out of it ---- */

struct end {
	struct vb_brick *brick;
	struct rte_ring *in[NB_WORKERS]; /* by the worker that shall take it */
	struct rte_ring *out[NB_WORKERS];
};

static uint16_t end_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct end *end = node->state;
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t n = rte_ring_dequeue_burst(end->in[ctx->worker], (void **)pkts, VB_BURST, NULL);

	if (n > 0)
		vb_push(ctx, node, edge, pkts, n);
	return n;
}

static void end_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	const struct end *end = node->state;
	uint16_t taken = rte_ring_enqueue_burst(end->out[ctx->worker], (void **)pkts, n, NULL);

	(void)edge;
	rte_pktmbuf_free_bulk(pkts + taken, n - taken);
}

static uint32_t ups; /* of ends' edges */

static void end_edge_up(struct vb_brick *brick, uint16_t edge)
{
	(void)brick;
	(void)edge;
	ups++;
}

static void end_quiesce(struct vb_brick *brick)
{
	(void)brick;
}

static void ring_free(struct rte_ring *ring)
{
	struct rte_mbuf *m;

	while (rte_ring_dequeue(ring, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(ring);
}

static void end_fini(struct vb_brick *brick)
{
	const struct end *end = brick->state;

	for (int i = 0; i < NB_WORKERS; i++) {
		ring_free(end->in[i]);
		ring_free(end->out[i]);
	}
}

static const struct vb_brick_ops end_ops = {
	.kind = "end",
	.polled = true,
	.pull = end_pull,
	.push = end_push,
	.edge_up = end_edge_up,
	.quiesce = end_quiesce,
	.fini = end_fini,
};

static struct rte_ring *ring_new(const char *what, int number)
{
	char name[RTE_RING_NAMESIZE];
	struct rte_ring *ring;

	snprintf(name, sizeof(name), "%s%d", what, number);
	ring = rte_ring_create(name, RING, SOCKET_ID_ANY, 0);
	assert_non_null(ring);
	return ring;
}

static void end_create(struct end *end, const char *name)
{
	for (int i = 0; i < NB_WORKERS; i++) {
		end->in[i] = ring_new(name, i);
		end->out[i] = ring_new(name, NB_WORKERS + i);
	}
	end->brick = vb_brick_new(&end_ops, name, end);
	assert_non_null(end->brick);
	vb_graph_add(end->brick);
}

static void end_send(struct end *end, int worker, struct rte_mbuf *m)
{
	harness_wait(rte_ring_enqueue(end->in[worker], m) == 0);
}

static struct rte_mbuf *end_recv(struct end *end)
{
	struct rte_mbuf *m = NULL;
	int w = 0;

	harness_wait(rte_ring_dequeue(end->out[w++ % NB_WORKERS], (void **)&m) == 0);
	return m;
}

/* ---- two nics, wired to each other ---- */

static struct rte_ring *wires[2][NB_WORKERS];
static struct end ends[2];
static struct vb_brick *nics[2];

static void netns(void)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	/* The kernel would mix its own frames into ours. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
	if (fd < 0)
		return; /* a kernel without IPv6 */
	assert_int_equal(write(fd, "1", 1), 1);
	close(fd);
}

static int start(void **state)
{
	(void)state;
	netns();
	harness_start(NB_WORKERS);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		for (int w = 0; w < NB_WORKERS; w++)
			wires[i][w] = ring_new(i == 0 ? "ab" : "ba", w);
	for (int i = 0; i < 2; i++) {
		const char *const name[] = {"a", "b"}, *const devargs[] = {
							       "net_ring_a", "net_ring_b"};

		assert_true(rte_eth_from_rings(name[i], wires[1 - i], NB_WORKERS, wires[i],
				    NB_WORKERS, 0) >= 0);
		end_create(&ends[i], i == 0 ? "end_a" : "end_b");
		assert_int_equal(vb_nic_create(i == 0 ? "nic/a" : "nic/b", devargs[i], 1500,
					 ends[i].brick, &nics[i]),
			0);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vb_brick_destroy(nics[i]), 0);
		assert_int_equal(vb_brick_destroy(ends[i].brick), 0);
	}
	for (int i = 0; i < 2; i++)
		for (int w = 0; w < NB_WORKERS; w++)
			ring_free(wires[i][w]);
	assert_int_equal(rte_eth_dev_count_avail(), 0);
	return harness_in_use();
}

static struct vb_stats stats(struct vb_brick *brick)
{
	struct vb_stats s;

	vb_brick_stats(brick, &s);
	return s;
}

static struct rte_mbuf *numbered(uint32_t number, uint16_t len)
{
	struct rte_mbuf *m = harness_frame(1, 2, len);

	memcpy(rte_pktmbuf_mtod_offset(m, void *, 14), &number, sizeof(number));
	return m;
}

static uint32_t number_of(const struct rte_mbuf *m)
{
	uint32_t number;

	memcpy(&number, rte_pktmbuf_mtod_offset(m, void *, 14), sizeof(number));
	return number;
}

static void frames_go_both_ways_by_every_worker(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	for (int i = 0; i < 2; i++)
		for (uint32_t k = 0; k < 20; k++)
			for (int w = 0; w < NB_WORKERS; w++) {
				end_send(&ends[i], w, numbered(k + 100 * w, LEN + k));
				m = end_recv(&ends[1 - i]);
				assert_int_equal(number_of(m), k + 100 * w);
				assert_int_equal(m->pkt_len, LEN + k);
				rte_pktmbuf_free(m);
			}
	for (int i = 0; i < 2; i++) {
		struct vb_stats s = stats(nics[i]);

		assert_int_equal(s.to_peer_packets, 40);
		assert_int_equal(s.from_peer_packets, 40);
		assert_int_equal(s.to_peer_bytes, 2 * (20 * LEN + 190));
		assert_int_equal(s.from_peer_bytes, 2 * (20 * LEN + 190));
	}
}

static void what_the_device_found_out_is_forgotten(void **state)
{
	struct rte_mbuf *m = numbered(1, LEN);

	(void)state;
	m->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_RSS_HASH |
		      RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_TX_TCP_SEG;
	end_send(&ends[0], 0, m);
	assert_ptr_equal(end_recv(&ends[1]), m);
	assert_int_equal(m->ol_flags, 0);
	rte_pktmbuf_free(m);
}

static void long_frames_are_dropped(void **state)
{
	struct rte_mbuf *m;

	(void)state;
	end_send(&ends[0], 0, numbered(1, 1519));
	end_send(&ends[0], 0, numbered(2, 1518)); /* a tag may be inside */
	m = end_recv(&ends[1]);
	assert_int_equal(number_of(m), 2);
	rte_pktmbuf_free(m);
	assert_int_equal(stats(nics[0]).drops[VB_DROP_TOO_BIG], 1);
	assert_int_equal(vb_nic_set_mtu(nics[0], 1501), 0);
	end_send(&ends[0], 0, numbered(3, 1519));
	m = end_recv(&ends[1]);
	assert_int_equal(number_of(m), 3);
	rte_pktmbuf_free(m);
	assert_int_equal(stats(nics[0]).to_peer_packets, 2);
}

static void an_mtu_that_the_device_cannot_do_is_refused(void **state)
{
	struct vb_brick *brick;

	(void)state;
	/* It was set up for frames of one mbuf. */
	assert_int_equal(vb_nic_set_mtu(nics[0], 2027), -EINVAL);
	assert_int_equal(vb_nic_set_mtu(nics[0], 2026), 0);
	assert_int_equal(vb_nic_set_mtu(nics[0], UINT32_MAX), -EINVAL);
	/* A device that has no frames of more than one; and then it is as if never asked. */
	assert_int_equal(
		vb_nic_create("nic/n", "net_null0", 9000, ends[0].brick, &brick), -EINVAL);
	assert_int_equal(
		vb_nic_create("nic/n", "net_null0", 100000, ends[0].brick, &brick), -EINVAL);
	assert_int_equal(vb_nic_create("nic/n", "net_null0", 1500, ends[0].brick, &brick), 0);
	assert_int_equal(vb_brick_destroy(brick), 0);
}

static struct rte_mbuf *chain(uint16_t head, uint16_t tail)
{
	struct rte_mbuf *m = numbered(7, head), *next = harness_frame(3, 4, tail);

	assert_int_equal(rte_pktmbuf_chain(m, next), 0);
	return m;
}

static void chains_stay_whole(void **state)
{
	struct rte_mbuf *m = chain(200, 300);

	(void)state;
	end_send(&ends[0], 0, m);
	assert_ptr_equal(end_recv(&ends[1]), m);
	assert_int_equal(m->nb_segs, 2);
	rte_pktmbuf_free(m);
}

/* What a guest leaves to be done no device is asked for. */
static void what_guests_left_is_done_before(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 40000, .tcp_options = 12};
	uint32_t done = 0, n = 0;

	(void)state;
	end_send(&ends[0], 0, tcp_frame_offload(&f, 1448));
	for (; done < f.payload; n++)
		done += tcp_frame_check_mbuf(&f, end_recv(&ends[1]), done, 1448);
	assert_int_equal(stats(nics[0]).to_peer_packets, n);
	assert_int_equal(stats(nics[0]).made_packets, n - 1);
	assert_int_equal(stats(nics[0]).drops[VB_DROP_TOO_BIG], 0);
}

static void a_device_without_chains_gets_copies(void **state)
{
	struct nic_state *nic = nics[0]->state;
	struct rte_mbuf *m = chain(200, 300), *got;

	(void)state;
	assert_true(nic->device.multi_segs);
	nic->device.multi_segs = false;
	rte_mbuf_refcnt_update(m, 1); /* of others: it must stay as it is */
	end_send(&ends[0], 0, m);
	got = end_recv(&ends[1]);
	assert_int_equal(got->nb_segs, 1);
	assert_int_equal(got->pkt_len, 500);
	assert_int_equal(m->nb_segs, 2);
	assert_memory_equal(rte_pktmbuf_mtod(got, void *), rte_pktmbuf_mtod(m, void *), 200);
	assert_memory_equal(
		rte_pktmbuf_mtod_offset(got, void *, 200), rte_pktmbuf_mtod(m->next, void *), 300);
	rte_pktmbuf_free(got);
	harness_wait(rte_mbuf_refcnt_read(m) == 1);
	rte_pktmbuf_free(m);

	assert_int_equal(vb_nic_set_mtu(nics[0], 2026), 0);
	nic->max_frame = 3000; /* as of a larger device */
	end_send(&ends[0], 0, chain(1048, 1001));
	harness_wait(stats(nics[0]).drops[VB_DROP_TOO_BIG] == 1);
}

/* A nic that is joined to brick and whose device nobody reads. */
static struct rte_ring *dead_end(struct vb_brick *brick, struct vb_brick **out)
{
	struct rte_ring *sent = ring_new("dead", 0), *silence = ring_new("dead", 1);

	assert_true(rte_eth_from_rings("c", &silence, 1, &sent, 1, 0) >= 0);
	assert_int_equal(vb_nic_create("nic/c", "net_ring_c", 1500, brick, out), 0);
	return sent;
}

static void dead_end_free(struct rte_ring *sent, struct vb_brick *nic)
{
	assert_int_equal(vb_brick_destroy(nic), 0);
	ring_free(sent);
	ring_free(rte_ring_lookup("dead1"));
}

static void what_the_device_has_no_room_for_is_dropped(void **state)
{
	struct vb_brick *nic;
	struct rte_ring *sent;
	struct vb_stats s;
	struct end end;

	(void)state;
	end_create(&end, "end_c");
	sent = dead_end(end.brick, &nic);
	for (int i = 0; i < 100; i++)
		end_send(&end, 0, numbered(i, LEN));
	harness_wait(stats(nic).drops[VB_DROP_RING_FULL] == 100 - (RING - 1));
	s = stats(nic);
	assert_int_equal(s.to_peer_packets, RING - 1);
	assert_int_equal(s.to_peer_bytes, (RING - 1) * LEN);
	dead_end_free(sent, nic);
	assert_int_equal(vb_brick_destroy(end.brick), 0);
}

/* Not a worker, but who holds vb_lock: see the switch. */
static void a_switch_announces_its_neighbours_over_it(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	const struct vb_neigh n = {.family = 4, .mac = {2, 0, 0, 0, 0, 7}, .ip = {10, 0, 0, 7}};
	struct rte_mbuf *m = harness_frame(0, 0, VB_NEIGH_FRAME);
	struct vb_brick *sw, *nic;
	struct rte_ring *sent;
	struct sink guest;

	(void)state;
	assert_int_equal(vb_switch_create("switch", &config, &sw), 0);
	sink_create(&guest, "guest");
	vb_neigh_frame(&n, rte_pktmbuf_mtod(m, uint8_t *));
	push_into(sw, join(sw, guest.brick), &m, 1);
	sent = dead_end(sw, &nic);
	assert_int_equal(rte_ring_count(sent), 2);
	assert_int_equal(stats(nic).to_peer_packets, 2);
	dead_end_free(sent, nic);
	assert_int_equal(vb_brick_destroy(guest.brick), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
}

static void devices_that_are_not_there_are_refused(void **state)
{
	struct vb_brick *to = ends[0].brick, *brick;
	uint32_t edges = vb_brick_edges(to);

	(void)state;
	assert_int_equal(vb_nic_create("nic/x", "no_such_driver", 1500, to, &brick), -EINVAL);
	assert_int_equal(vb_nic_create("nic/x", "", 1500, to, &brick), -EINVAL);
	assert_int_equal(vb_nic_create("nic/x", "0000:81:00.0", 1500, to, &brick), -ENODEV);
	assert_int_equal(
		vb_nic_create("nic/x", "net_af_packet0,iface=none", 1500, to, &brick), -ENODEV);
	/* It is somebody's, who keeps it. */
	assert_int_equal(vb_nic_create("nic/x", "net_ring_b", 1500, to, &brick), -EBUSY);
	assert_int_equal(vb_brick_edges(to), edges);
	end_send(&ends[0], 0, numbered(1, LEN));
	rte_pktmbuf_free(end_recv(&ends[1]));
}

static void a_nic_comes_and_goes_under_traffic(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		uint64_t before = stats(nics[0]).to_peer_packets;

		for (int i = 0; i < 10; i++)
			end_send(&ends[0], i % NB_WORKERS, numbered(i, LEN));
		harness_wait(stats(nics[0]).to_peer_packets > before);
		assert_int_equal(vb_brick_destroy(nics[1]), 0);
		assert_true(rte_eth_from_rings(
				    "b", wires[0], NB_WORKERS, wires[1], NB_WORKERS, 0) >= 0);
		assert_int_equal(
			vb_nic_create("nic/b", "net_ring_b", 1500, ends[1].brick, &nics[1]), 0);
		for (int i = 0; i < 10; i++)
			rte_pktmbuf_free(end_recv(&ends[1]));
	}
}

/* ---- faults ---- */

/* Drivers' side of ethdev, which DPDK exports but does not declare to others. */
struct rte_eth_dev;
extern struct rte_eth_dev rte_eth_devices;
int rte_eth_dev_callback_process(
	struct rte_eth_dev *dev, enum rte_eth_event_type event, void *ret_param);

/* As the driver of port 0, nic a's, would say it. */
static void driver_says(enum rte_eth_event_type type)
{
	const struct nic_state *nic = nics[0]->state;

	assert_int_equal(nic->device.port, 0);
	rte_eth_dev_callback_process(&rte_eth_devices, type, NULL);
}

static void assert_event(enum vb_event_kind kind, enum vb_fault fault)
{
	struct vb_event event = {0};

	assert_int_equal(vb_events(&event, 1), 1);
	assert_int_equal(event.kind, kind);
	assert_int_equal(event.fault, fault);
	assert_string_equal(event.brick, "nic/a");
}

static void a_lost_link_is_a_fault_until_it_is_back(void **state)
{
	struct vb_event event;
	uint32_t before = ups;

	(void)state;
	driver_says(RTE_ETH_EVENT_INTR_LSC); /* as at the start: no fault */
	assert_int_equal(vb_events(&event, 1), 0);
	assert_int_equal(ups, before + 1);
	assert_int_equal(rte_eth_dev_set_link_down(0), 0);
	driver_says(RTE_ETH_EVENT_INTR_LSC);
	driver_says(RTE_ETH_EVENT_INTR_LSC);
	assert_event(VB_EVENT_FAULT, VB_FAULT_LINK_DOWN);
	assert_int_equal(vb_events(&event, 1), 0);
	assert_int_equal(ups, before + 1);
	/* Who is joined to it is told: the switch at the wire's other end may have forgotten. */
	assert_int_equal(rte_eth_dev_set_link_up(0), 0);
	driver_says(RTE_ETH_EVENT_INTR_LSC);
	assert_int_equal(ups, before + 2);
	assert_event(VB_EVENT_FAULT_CLEARED, VB_FAULT_NONE);
}

static void a_removed_device_is_a_fault(void **state)
{
	struct vb_event event;

	(void)state;
	driver_says(RTE_ETH_EVENT_INTR_RMV);
	assert_event(VB_EVENT_FAULT, VB_FAULT_INTERFACE_GONE);
	driver_says(RTE_ETH_EVENT_INTR_LSC);
	assert_int_equal(vb_events(&event, 1), 0);
}

/* ---- over the kernel ---- */

static void veth_create(void)
{
	assert_int_equal(system("ip link add vbn0 type veth peer name vbn1 &&"
				"ip link set vbn0 up && ip link set vbn1 up"),
		0);
}

static void veth_delete(void)
{
	assert_int_equal(system("ip link delete vbn0"), 0);
}

/* What the other end of the wire sends and gets. */
static int wire_open(void)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex("vbn1"),
	};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Read a frame; return its VLAN, which the kernel keeps apart, or -1. */
static int wire_recv(int fd, uint8_t *frame, size_t len)
{
	uint8_t control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = {frame, len};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct tpacket_auxdata aux;

	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(recvmsg(fd, &msg, 0), len);
	assert_non_null(CMSG_FIRSTHDR(&msg));
	memcpy(&aux, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(aux));
	return (aux.tp_status & TP_STATUS_VLAN_VALID) != 0 ? aux.tp_vlan_tci & 0xfff : -1;
}

static void a_trunk_over_a_kernel_interface(void **state)
{
	uint8_t frame[1518], got[1514];
	struct vb_brick *trunk, *nic;
	struct rte_mbuf *m;
	struct end flat, ten;
	int fd;

	(void)state;
	veth_create();
	fd = wire_open();
	end_create(&flat, "end_flat");
	end_create(&ten, "end_ten");
	assert_int_equal(vb_vlan_create("trunk", &trunk), 0);
	assert_int_equal(
		vb_nic_create("nic/k", "net_af_packet0,iface=vbn0", 1500, trunk, &nic), 0);
	assert_int_equal(vb_vlan_join(trunk, 0, flat.brick), 0);
	assert_int_equal(vb_vlan_join(trunk, 10, ten.brick), 0);

	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = i * 7;
	memcpy(frame, "\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x81\0\0\x0a\x08\0", 18);
	assert_int_equal(write(fd, frame, sizeof(frame)), sizeof(frame));
	m = end_recv(&ten);
	assert_int_equal(m->pkt_len, sizeof(frame) - 4);
	assert_memory_equal(rte_pktmbuf_mtod(m, char *), frame, 12);
	assert_memory_equal(rte_pktmbuf_mtod_offset(m, char *, 12), frame + 16, 1502);
	end_send(&ten, 1, m);
	assert_int_equal(wire_recv(fd, got, sizeof(got)), 10);
	assert_memory_equal(got, frame, 12);
	assert_memory_equal(got + 12, frame + 16, 1502);

	memmove(frame + 12, frame + 16, 1502);
	assert_int_equal(write(fd, frame, 1514), 1514);
	m = end_recv(&flat);
	assert_int_equal(m->pkt_len, 1514);
	end_send(&flat, 0, m);
	assert_int_equal(wire_recv(fd, got, sizeof(got)), -1);
	assert_memory_equal(got, frame, sizeof(got));

	assert_int_equal(vb_vlan_leave(trunk, 0), 0);
	assert_int_equal(vb_vlan_leave(trunk, 10), 0);
	assert_int_equal(vb_brick_destroy(nic), 0);
	assert_int_equal(vb_brick_destroy(trunk), 0);
	assert_int_equal(vb_brick_destroy(flat.brick), 0);
	assert_int_equal(vb_brick_destroy(ten.brick), 0);
	close(fd);
	veth_delete();
	assert_int_equal(harness_in_use(), 0);
}

/* Two workers and one queue, with a frame that both must not write at once. */
static void workers_share_a_queue(void **state)
{
	struct vb_brick *nic;
	uint8_t got[LEN];
	uint32_t number, seen = 0;
	struct end end;
	int fd;

	(void)state;
	veth_create();
	fd = wire_open();
	end_create(&end, "end_k");
	assert_int_equal(
		vb_nic_create("nic/k", "net_af_packet0,iface=vbn0", 1500, end.brick, &nic), 0);
	for (uint32_t i = 0; i < 400; i++) {
		end_send(&end, i % NB_WORKERS, numbered(i, LEN));
		if (i % 20 != 19)
			continue;
		for (int k = 0; k < 20; k++) {
			assert_int_equal(wire_recv(fd, got, sizeof(got)), -1);
			memcpy(&number, got + 14, sizeof(number));
			seen += number;
		}
	}
	assert_int_equal(seen, 400 * 399 / 2);
	harness_wait(stats(nic).to_peer_packets == 400);
	assert_int_equal(vb_brick_destroy(nic), 0);
	assert_int_equal(vb_brick_destroy(end.brick), 0);
	close(fd);
	veth_delete();
	assert_int_equal(harness_in_use(), 0);
}

/* The kernel spreads frames over both queues: each worker finds some. */
static void every_queue_of_the_kernel_is_polled(void **state)
{
	uint8_t frame[LEN] = "\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\0\x45";
	struct vb_brick *nic;
	struct end end;
	int fd;

	(void)state;
	veth_create();
	fd = wire_open();
	end_create(&end, "end_k");
	assert_int_equal(vb_nic_create("nic/k", "net_af_packet0,iface=vbn0,qpairs=3", 1500,
				 end.brick, &nic),
		0);
	for (int i = 0; i < 60; i++) {
		frame[17] = LEN - 14; /* an IPv4 packet of a flow of its own */
		frame[23] = 17;
		frame[33] = i;
		assert_int_equal(write(fd, frame, LEN), LEN);
		rte_pktmbuf_free(end_recv(&end));
	}
	for (int w = 0; w < NB_WORKERS; w++)
		assert_true(vb_count_read(&nic->rows[w].from_peer_packets) > 0);
	assert_int_equal(stats(nic).from_peer_packets, 60);
	assert_int_equal(vb_brick_destroy(nic), 0);
	assert_int_equal(vb_brick_destroy(end.brick), 0);
	close(fd);
	veth_delete();
	assert_int_equal(harness_in_use(), 0);
}

static void an_interface_that_is_down_is_counted(void **state)
{
	struct vb_brick *nic;
	struct end end;

	(void)state;
	end_create(&end, "end_k");
	/* What was refused once is taken when it is there. */
	assert_int_equal(
		vb_nic_create("nic/k", "net_af_packet0,iface=vbn0", 1500, end.brick, &nic),
		-ENODEV);
	veth_create();
	assert_int_equal(
		vb_nic_create("nic/k", "net_af_packet0,iface=vbn0", 1500, end.brick, &nic), 0);
	assert_int_equal(system("ip link set vbn0 down"), 0);
	end_send(&end, 0, numbered(1, LEN));
	harness_wait(stats(nic).drops[VB_DROP_DEVICE_ERROR] == 1);
	assert_int_equal(vb_brick_destroy(nic), 0);
	assert_int_equal(vb_brick_destroy(end.brick), 0);
	veth_delete();
	assert_int_equal(harness_in_use(), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_go_both_ways_by_every_worker),
		T(what_the_device_found_out_is_forgotten),
		T(long_frames_are_dropped),
		T(an_mtu_that_the_device_cannot_do_is_refused),
		T(chains_stay_whole),
		T(what_guests_left_is_done_before),
		T(a_device_without_chains_gets_copies),
		T(what_the_device_has_no_room_for_is_dropped),
		T(a_switch_announces_its_neighbours_over_it),
		T(devices_that_are_not_there_are_refused),
		T(a_nic_comes_and_goes_under_traffic),
		T(a_lost_link_is_a_fault_until_it_is_back),
		T(a_removed_device_is_a_fault),
		cmocka_unit_test(a_trunk_over_a_kernel_interface),
		cmocka_unit_test(workers_share_a_queue),
		cmocka_unit_test(every_queue_of_the_kernel_is_polled),
		cmocka_unit_test(an_interface_that_is_down_is_counted),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
