/* SPDX-License-Identifier: Apache-2.0
 *
 * The vxlan brick over the loopback of a network namespace of its own: several hosts
 * are several of its addresses.  Some are bricks, some are bare sockets (a wire) that
 * see and say what bricks would not.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <rte_cycles.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bricks/vxlan.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "tcp_frame.h"

#define PORT 4789
#define VNI 1001
#define EVERYBODY 0xff /* the last byte of a destination: the whole is ff:ff:... */

/* ---- a network on a host: a guest, a switch and a tunnel ---- */

struct site {
	struct vb_host_port guest; /* the test is its host thread */
	struct vb_brick *sw, *vxlan;
};

static void nothing(struct vb_brick *brick)
{
	(void)brick;
}

static void guest_fini(struct vb_brick *brick)
{
	vb_host_port_fini(brick->state);
}

static const struct vb_brick_ops guest_ops = {
	.kind = "guest",
	.polled = true,
	.pull = vb_host_pull,
	.push = vb_host_push,
	.quiesce = nothing,
	.fini = guest_fini,
};

static struct vb_vxlan_config tunnel(const char *local, uint32_t vni)
{
	return (struct vb_vxlan_config){
		.local = local,
		.port = PORT,
		.vni = vni,
		.mtu = 1500,
		.mac_table_size = 64,
		.mac_ageing_s = 300,
	};
}

static void site_create(struct site *s, const char *local, uint32_t vni)
{
	const struct vb_switch_config sw = {.mac_table_size = 64, .mac_ageing_s = 300};
	const struct vb_vxlan_config config = tunnel(local, vni);
	struct vb_brick *guest = vb_brick_new(&guest_ops, "guest", &s->guest);

	assert_non_null(guest);
	vb_graph_add(guest);
	memset(&s->guest, 0, sizeof(s->guest));
	assert_int_equal(vb_host_port_init(&s->guest, guest, NULL), 0);
	assert_int_equal(vb_switch_create("switch", &sw, &s->sw), 0);
	join(guest, s->sw);
	assert_int_equal(vb_vxlan_create("vxlan", &config, s->sw, &s->vxlan), 0);
}

static void site_destroy(struct site *s)
{
	assert_int_equal(vb_brick_destroy(s->vxlan), 0);
	assert_int_equal(vb_brick_destroy(s->guest.brick), 0);
	assert_int_equal(vb_brick_destroy(s->sw), 0);
}

#define SET_REMOTES(site, ...)                                                                    \
	do {                                                                                      \
		const char *const to_[] = {__VA_ARGS__};                                          \
		assert_int_equal(vb_vxlan_set_remotes((site)->vxlan, to_, RTE_DIM(to_)), 0);      \
	} while (0)

static struct vb_stats stats(const struct site *s)
{
	struct vb_stats out;

	vb_brick_stats(s->vxlan, &out);
	return out;
}

static uint64_t dropped(const struct site *s, enum vb_drop why)
{
	return stats(s).drops[why];
}

/* A frame whose bytes behind the addresses depend on their place and on src. */
static void make_frame(uint8_t *p, uint32_t len, uint8_t dst, uint8_t src)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = i * 7 + src;
	memset(p, dst == EVERYBODY ? 0xff : 0, 6);
	memset(p + 6, 0, 6);
	p[0] |= 2;
	p[5] = dst;
	p[6] = 2;
	p[11] = src;
}

/* The guest sends a frame. */
static void says(struct site *s, uint8_t dst, uint8_t src, uint32_t len)
{
	struct iovec iov[VB_CHAIN_SEGS];
	uint8_t frame[16384];
	struct rte_mbuf *m = vb_chain_alloc(vb_chain_segs(len), iov);
	uint32_t done = 0;

	assert_non_null(m);
	make_frame(frame, len, dst, src);
	vb_chain_trim(m, len);
	for (struct rte_mbuf *seg = m; seg != NULL; done += seg->data_len, seg = seg->next)
		memcpy(rte_pktmbuf_mtod(seg, void *), frame + done, seg->data_len);
	vb_host_give(&s->guest, m);
}

/* The next frame that the guest receives is this one. */
static void hears(struct site *s, uint8_t dst, uint8_t src, uint32_t len)
{
	uint8_t frame[16384], got[16384];
	struct rte_mbuf *m;

	harness_wait((m = vb_host_take(&s->guest)) != NULL);
	make_frame(frame, len, dst, src);
	assert_int_equal(m->pkt_len, len);
	assert_memory_equal(rte_pktmbuf_read(m, 0, len, got), frame, len);
	rte_pktmbuf_free(m);
}

/* ---- a host that is a bare socket ---- */

static int wire_open(const char *local)
{
	union vxlan_addr addr;
	int fd;

	assert_int_equal(vxlan_addr_parse(local, PORT, &addr), 0);
	fd = socket(addr.sa.sa_family, SOCK_DGRAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &addr.sa, sizeof(addr)), 0);
	return fd;
}

static void wire_send(int fd, const char *to, const void *packet, size_t len)
{
	union vxlan_addr addr;

	assert_int_equal(vxlan_addr_parse(to, PORT, &addr), 0);
	assert_int_equal(sendto(fd, packet, len, 0, &addr.sa, sizeof(addr)), len);
}

/* A VXLAN packet as RFC 7348 section 5 draws it; returns its length. */
static size_t make_packet(uint8_t *p, uint32_t vni, uint8_t dst, uint8_t src, uint32_t len)
{
	const uint8_t header[8] = {0x08, 0, 0, 0, vni >> 16, vni >> 8, vni, 0};

	memcpy(p, header, sizeof(header));
	make_frame(p + sizeof(header), len, dst, src);
	return sizeof(header) + len;
}

static void wire_says(int fd, const char *to, uint32_t vni, uint8_t dst, uint8_t src, uint32_t len)
{
	uint8_t packet[16392];

	wire_send(fd, to, packet, make_packet(packet, vni, dst, src, len));
}

/* The next packet of the wire is this one; returns its source port. */
static uint16_t wire_hears(int fd, uint32_t vni, uint8_t dst, uint8_t src, uint32_t len)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint8_t packet[16392], got[16392];
	size_t size = make_packet(packet, vni, dst, src, len);
	union vxlan_addr from;
	socklen_t from_len = sizeof(from);

	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_int_equal(recvfrom(fd, got, sizeof(got), 0, &from.sa, &from_len), size);
	assert_memory_equal(got, packet, size);
	return ntohs(from.in.sin_port);
}

/* ---- the tests ---- */

/* An MTU of 1500 on the loopback: full frames come in fragments. */
static int group_setup(void **state)
{
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(
		system("ip link set lo up mtu 1500 && ip address add 10.9.9.9/24 dev lo && "
		       "ip address add fd00::1/128 dev lo nodad && "
		       "ip address add fd00::2/128 dev lo nodad && "
		       "ip address add fd00::3/128 dev lo nodad"),
		0);
	harness_start(2);
	return 0;
}

static struct site a, b;

static int setup(void **state)
{
	(void)state;
	site_create(&a, "127.0.0.1", VNI);
	site_create(&b, "127.0.0.2", VNI);
	SET_REMOTES(&a, "127.0.0.2", "127.0.0.3");
	SET_REMOTES(&b, "127.0.0.1", "127.0.0.3");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	site_destroy(&a);
	site_destroy(&b);
	return harness_in_use();
}

/* Unknown to all, known to the one: between two bricks, with a wire as the third. */
static void learn_and_replicate(struct site *one, struct site *two, int wire)
{
	says(one, EVERYBODY, 1, 60);
	hears(two, EVERYBODY, 1, 60);
	wire_hears(wire, VNI, EVERYBODY, 1, 60);
	harness_wait(stats(one).to_peer_packets == 2);
	assert_int_equal(stats(one).to_peer_bytes, 120);
	/* The answer goes to the one that has the address, and is not seen elsewhere. */
	says(two, 1, 2, 1514);
	hears(one, 1, 2, 1514);
	says(one, 2, 1, 100);
	hears(two, 2, 1, 100);
	says(two, EVERYBODY, 2, 61);
	hears(one, EVERYBODY, 2, 61);
	wire_hears(wire, VNI, EVERYBODY, 2, 61);
	says(one, 9, 1, 62);
	hears(two, 9, 1, 62);
	wire_hears(wire, VNI, 9, 1, 62);
	harness_wait(stats(one).to_peer_packets == 5);
	assert_int_equal(stats(one).from_peer_packets, 2);
	assert_int_equal(stats(one).from_peer_bytes, 1514 + 61);
}

static void addresses_are_learnt(void **state)
{
	int wire = wire_open("127.0.0.3");

	(void)state;
	learn_and_replicate(&a, &b, wire);
	close(wire);
}

/* Each remote host has finished frames; those that a port's MTU holds for. */
static void what_guests_left_is_done_before(void **state)
{
	const struct tcp_frame f = {.version = 4, .payload = 20000, .tags = 1};
	uint32_t there = 0, on_wire = 0, n = 0;
	int wire = wire_open("127.0.0.3");
	struct rte_mbuf *m;
	uint8_t got[1600];

	(void)state;
	vb_host_give(&a.guest, tcp_frame_offload(&f, 1460));
	for (; on_wire < f.payload; n++) {
		struct pollfd ready = {.fd = wire, .events = POLLIN};
		ssize_t len;

		assert_int_equal(poll(&ready, 1, 10000), 1);
		len = read(wire, got, sizeof(got));
		on_wire += tcp_frame_check(&f, got + 8, len - 8, on_wire, 1460);
		harness_wait((m = vb_host_take(&b.guest)) != NULL);
		there += tcp_frame_check_mbuf(&f, m, there, 1460);
	}
	harness_wait(stats(&a).to_peer_packets == 2 * n);
	assert_int_equal(stats(&a).made_packets, 2 * n - 1);
	/* A segment of a byte more is too long, and every one is counted. */
	vb_host_give(&a.guest, tcp_frame_offload(&f, 1461));
	harness_wait(dropped(&a, VB_DROP_TOO_BIG) == 13);
	close(wire);
}

static void ipv6_is_as_good(void **state)
{
	int wire = wire_open("fd00::3");
	struct site one, two;

	(void)state;
	site_create(&one, "fd00::1", VNI);
	site_create(&two, "fd00::2", VNI);
	SET_REMOTES(&one, "fd00::2", "fd00::3");
	SET_REMOTES(&two, "fd00::1", "fd00::3");
	learn_and_replicate(&one, &two, wire);
	/* RFC 7348 has others send no check sum, which IPv6 by itself does not take. */
	assert_int_equal(
		setsockopt(wire, IPPROTO_UDP, UDP_NO_CHECK6_TX, &(int){1}, sizeof(int)), 0);
	wire_says(wire, "fd00::1", VNI, EVERYBODY, 3, 60);
	hears(&one, EVERYBODY, 3, 60);
	site_destroy(&one);
	site_destroy(&two);
	close(wire);
}

static void an_address_that_moves_is_followed(void **state)
{
	int wire = wire_open("127.0.0.3");

	(void)state;
	says(&b, EVERYBODY, 2, 60);
	hears(&a, EVERYBODY, 2, 60);
	wire_hears(wire, VNI, EVERYBODY, 2, 60);
	wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 2, 61);
	hears(&a, EVERYBODY, 2, 61);
	says(&a, 2, 1, 62);
	wire_hears(wire, VNI, 2, 1, 62);
	harness_wait(stats(&a).to_peer_packets == 1);
	close(wire);
}

static void bad_packets_are_dropped_by_name(void **state)
{
	int wire = wire_open("127.0.0.3"), stranger = wire_open("127.0.0.4");
	uint8_t packet[200];
	size_t len = make_packet(packet, VNI, EVERYBODY, 3, 60);

	(void)state;
	wire_send(wire, "127.0.0.1", packet, 0);
	harness_wait(dropped(&a, VB_DROP_BAD_TUNNEL) == 1);
	wire_send(wire, "127.0.0.1", packet, 7);
	harness_wait(dropped(&a, VB_DROP_BAD_TUNNEL) == 2);
	packet[0] = 0xf7; /* every flag but the one for a valid VNI */
	wire_send(wire, "127.0.0.1", packet, len);
	harness_wait(dropped(&a, VB_DROP_BAD_TUNNEL) == 3);
	wire_says(wire, "127.0.0.1", VNI + 1, EVERYBODY, 3, 60);
	harness_wait(dropped(&a, VB_DROP_UNKNOWN_VNI) == 1);
	wire_says(stranger, "127.0.0.1", VNI, EVERYBODY, 3, 60);
	harness_wait(dropped(&a, VB_DROP_UNKNOWN_REMOTE) == 1);
	wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 3, 13);
	harness_wait(dropped(&a, VB_DROP_TOO_SHORT) == 1);
	wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 3, 1519);
	harness_wait(dropped(&a, VB_DROP_TOO_BIG) == 1);
	wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 3, 9000);
	harness_wait(dropped(&a, VB_DROP_TOO_BIG) == 2);
	assert_int_equal(stats(&a).from_peer_packets, 8);
	/* None of them came through, and reserved bits do not matter (RFC 7348). */
	make_packet(packet, VNI, EVERYBODY, 3, 60);
	packet[0] = 0xff;
	packet[1] = packet[7] = 0xff;
	wire_send(wire, "127.0.0.1", packet, len);
	hears(&a, EVERYBODY, 3, 60);
	assert_int_equal(stats(&a).from_peer_packets, 9);
	close(wire);
	close(stranger);
}

static void networks_do_not_mix(void **state)
{
	struct site a2, b2;

	(void)state;
	site_create(&a2, "127.0.0.1", 2);
	site_create(&b2, "127.0.0.2", 2);
	SET_REMOTES(&a2, "127.0.0.2");
	SET_REMOTES(&b2, "127.0.0.1");
	says(&a, EVERYBODY, 1, 60);
	hears(&b, EVERYBODY, 1, 60);
	/* Had the first one come here too, it would be heard first. */
	says(&a2, EVERYBODY, 1, 61);
	hears(&b2, EVERYBODY, 1, 61);
	/* The same address in both: each network knows its own. */
	says(&b, 1, 2, 62);
	hears(&a, 1, 2, 62);
	says(&b2, 1, 2, 63);
	hears(&a2, 1, 2, 63);
	assert_int_equal(stats(&a2).from_peer_packets, 1);
	site_destroy(&a2);
	site_destroy(&b2);
}

static void frames_keep_to_the_mtu(void **state)
{
	(void)state;
	SET_REMOTES(&a, "127.0.0.2");
	says(&a, EVERYBODY, 1, 1519);
	harness_wait(dropped(&a, VB_DROP_TOO_BIG) == 1);
	assert_int_equal(vb_vxlan_set_mtu(a.vxlan, 9000), 0);
	says(&a, EVERYBODY, 1, 9018);
	harness_wait(dropped(&b, VB_DROP_TOO_BIG) == 1);
	assert_int_equal(vb_vxlan_set_mtu(b.vxlan, 9000), 0);
	says(&a, EVERYBODY, 1, 9018);
	hears(&b, EVERYBODY, 1, 9018);
	/* One buffer, two of them, and as long as buffers are. */
	for (uint32_t len = 60; len <= 9018; len += len == 60 ? 1988 : 1394) {
		says(&a, EVERYBODY, 1, len);
		hears(&b, EVERYBODY, 1, len);
	}
	assert_int_equal(vb_vxlan_set_mtu(b.vxlan, 1000000), -EINVAL);
	assert_int_equal(vb_vxlan_set_mtu(b.vxlan, UINT32_MAX), -EINVAL);
	says(&a, EVERYBODY, 1, 9018);
	hears(&b, EVERYBODY, 1, 9018);
}

static void flows_are_told_apart_outside(void **state)
{
	int wire = wire_open("127.0.0.3");
	uint16_t first, port;
	bool other = false;

	(void)state;
	SET_REMOTES(&a, "127.0.0.3");
	says(&a, EVERYBODY, 1, 60);
	first = wire_hears(wire, VNI, EVERYBODY, 1, 60);
	says(&a, EVERYBODY, 1, 60);
	assert_int_equal(wire_hears(wire, VNI, EVERYBODY, 1, 60), first);
	for (uint8_t src = 2; src < 50; src++) {
		says(&a, EVERYBODY, src, 60);
		port = wire_hears(wire, VNI, EVERYBODY, src, 60);
		assert_int_not_equal(port, PORT);
		other |= port != first;
	}
	assert_true(other);
	close(wire);
}

/* ---- hosts that come, go, or do not answer ---- */

static void without_remotes_frames_have_nowhere_to_go(void **state)
{
	(void)state;
	assert_int_equal(vb_vxlan_set_remotes(a.vxlan, NULL, 0), 0);
	says(&a, EVERYBODY, 1, 60);
	harness_wait(dropped(&a, VB_DROP_NO_PEER) == 1);
	says(&b, EVERYBODY, 2, 60);
	harness_wait(dropped(&a, VB_DROP_UNKNOWN_REMOTE) == 1);
}

static void a_remote_that_leaves_is_forgotten(void **state)
{
	int wire = wire_open("127.0.0.3");

	(void)state;
	says(&b, EVERYBODY, 2, 60);
	hears(&a, EVERYBODY, 2, 60);
	wire_hears(wire, VNI, EVERYBODY, 2, 60);
	says(&a, 2, 1, 60);
	hears(&b, 2, 1, 60);
	/* Gone: all others may have its addresses now. */
	SET_REMOTES(&a, "127.0.0.3");
	says(&a, 2, 1, 61);
	wire_hears(wire, VNI, 2, 1, 61);
	/* Back: nothing is known of it until it speaks. */
	SET_REMOTES(&a, "127.0.0.3", "127.0.0.2");
	says(&a, 2, 1, 62);
	wire_hears(wire, VNI, 2, 1, 62);
	hears(&b, 2, 1, 62);
	close(wire);
}

/* What was told when the edge came up, nobody was there to hear. */
static void the_first_remotes_hear_who_is_here(void **state)
{
	static const uint8_t rarp[] = {8, 0, 0, 0, VNI >> 16, VNI >> 8, VNI & 0xff, 0, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 4, 0x80, 0x35};
	int wire = wire_open("127.0.0.3");
	struct pollfd ready = {.fd = wire, .events = POLLIN};
	uint8_t got[128];
	struct site late;

	(void)state;
	site_create(&late, "127.0.0.4", VNI);
	says(&late, EVERYBODY, 4, 60);
	harness_wait(dropped(&late, VB_DROP_NO_PEER) == 1);
	SET_REMOTES(&late, "127.0.0.3");
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_int_equal(recv(wire, got, sizeof(got), 0), 8 + 60);
	assert_memory_equal(got, rarp, sizeof(rarp));
	site_destroy(&late);
	close(wire);
}

static void dead_remotes_cost_the_others_nothing(void **state)
{
	(void)state;
	/* Nobody listens at the first, the second cannot be reached at all; and they are
	 * the first, as those who stay would be otherwise.
	 */
	assert_int_equal(vb_vxlan_set_remotes(a.vxlan, NULL, 0), 0);
	SET_REMOTES(&a, "127.0.0.5", "192.0.2.1", "127.0.0.2");
	for (int i = 0; i < 100; i++) {
		says(&a, EVERYBODY, 1, 60 + i);
		hears(&b, EVERYBODY, 1, 60 + i);
	}
	harness_wait(dropped(&a, VB_DROP_IO_ERROR) == 100);
	harness_wait(stats(&a).to_peer_packets == 200);
	says(&b, EVERYBODY, 2, 60);
	hears(&a, EVERYBODY, 2, 60);
}

/* Free what the guest has received, until it is a frame of len bytes. */
static bool heard_at_last(struct site *s, uint32_t len)
{
	struct rte_mbuf *m = vb_host_take(&s->guest);
	bool found = m != NULL && m->pkt_len == len;

	rte_pktmbuf_free(m);
	return found;
}

static void without_buffers_packets_are_lost_by_name(void **state)
{
	int wire = wire_open("127.0.0.3");
	struct rte_mbuf *all[4096];
	unsigned int n = 0;

	(void)state;
	while (n < RTE_DIM(all) && (all[n] = rte_pktmbuf_alloc(vb_pool)) != NULL)
		n++;
	/* More than the buffers that lie ready for a burst. */
	for (int i = 0; i < 100; i++)
		wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 3, 60);
	harness_wait(stats(&a).from_peer_packets == 100);
	assert_true(dropped(&a, VB_DROP_NO_BUFFER) > 0);
	rte_pktmbuf_free_bulk(all, n);
	wire_says(wire, "127.0.0.1", VNI, EVERYBODY, 4, 61);
	harness_wait(heard_at_last(&a, 61));
	close(wire);
}

/* ---- changes while frames go to and fro ---- */

static struct {
	bool (*change)(uint32_t number); /* false: it has failed */
	uint32_t changes, failures;
	bool stop;
} changer; /* atomics */

static void *changer_main(void *arg)
{
	while (!__atomic_load_n(&changer.stop, __ATOMIC_RELAXED)) {
		if (!changer.change(changer.changes))
			__atomic_fetch_add(&changer.failures, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&changer.changes, 1, __ATOMIC_RELAXED);
	}
	return arg;
}

/* Both sites talk while another thread makes changes, and no frame is lost or sent
 * twice.
 */
static void talk_during(bool (*change)(uint32_t number))
{
	pthread_t thread;
	uint64_t rounds;

	says(&b, EVERYBODY, 2, 60);
	hears(&a, EVERYBODY, 2, 60);
	memset(&changer, 0, sizeof(changer));
	changer.change = change;
	assert_int_equal(pthread_create(&thread, NULL, changer_main, NULL), 0);
	for (rounds = 0; rounds < 50 || __atomic_load_n(&changer.changes, __ATOMIC_RELAXED) < 50;
		rounds++) {
		for (int i = 0; i < 8; i++)
			says(&a, 2, 1, 60 + i);
		for (int i = 0; i < 8; i++)
			hears(&b, 2, 1, 60 + i);
		says(&b, 1, 2, 70);
		hears(&a, 1, 2, 70);
	}
	__atomic_store_n(&changer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(changer.failures, 0);
	harness_wait(stats(&a).to_peer_packets == 8 * rounds);
}

/* Any part of the list that has the second site. */
static bool change_remotes(uint32_t number)
{
	static const char *const all[] = {"127.0.0.3", "127.0.0.4", "127.0.0.2", "127.0.0.5",
		"127.0.0.6", "127.0.0.7", "127.0.0.8", "127.0.0.9", "127.0.1.1", "127.0.1.2"};

	return vb_vxlan_set_remotes(a.vxlan, all + number % 3, 3 + number % 5) == 0;
}

/* Another tunnel, at an endpoint of the first one's or at its own. */
static bool change_tunnels(uint32_t number)
{
	static const char *const locals[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
	const struct vb_vxlan_config config = tunnel(locals[number % 3], VNI + 256);
	struct vb_brick *brick;

	return vb_vxlan_create("other", &config, a.sw, &brick) == 0 &&
	       vb_brick_destroy(brick) == 0;
}

static void remotes_that_stay_feel_no_change(void **state)
{
	(void)state;
	talk_during(change_remotes);
}

static void tunnels_come_and_go_under_traffic(void **state)
{
	(void)state;
	talk_during(change_tunnels);
}

static void tunnels_go_under_traffic(void **state)
{
	int wire = wire_open("127.0.0.3");
	struct site c;

	(void)state;
	/* Packets are in every place where they can be when the brick goes. */
	for (int i = 0; i < 20; i++) {
		site_create(&c, "127.0.0.6", VNI);
		SET_REMOTES(&c, "127.0.0.2", "127.0.0.3");
		for (int k = 0; k < 100; k++) {
			says(&c, EVERYBODY, 1, 60);
			wire_says(wire, "127.0.0.6", VNI, EVERYBODY, 3, 60);
		}
		site_destroy(&c);
	}
	assert_int_equal(vb_brick_edges(a.sw), 2);
	close(wire);
}

/* ---- what is refused ---- */

static void what_cannot_be_is_refused(void **state)
{
	const struct vb_vxlan_config good = tunnel("127.0.0.3", VNI);
	struct vb_vxlan_config c;
	struct vb_brick *brick;
	int wire = wire_open("127.0.0.3");

	(void)state;
	assert_int_equal(vb_vxlan_create("x", &good, a.sw, &brick), -EADDRINUSE);
	close(wire);
#define REFUSED(error, field, value)                                                              \
	do {                                                                                      \
		c = good;                                                                         \
		c.field = value;                                                                  \
		assert_int_equal(vb_vxlan_create("x", &c, a.sw, &brick), error);                  \
	} while (0)
	REFUSED(-EEXIST, local, "127.0.0.1");
	REFUSED(-EADDRNOTAVAIL, local, "192.0.2.1");
	REFUSED(-EADDRNOTAVAIL, local, "2001:db8::1");
	REFUSED(-EINVAL, local, "localhost");
	REFUSED(-EINVAL, local, "0.0.0.0");
	REFUSED(-EINVAL, local, "::");
	REFUSED(-EINVAL, port, 0);
	REFUSED(-EINVAL, vni, 0);
	REFUSED(-EINVAL, vni, 1 << 24);
	REFUSED(-EINVAL, mtu, 1000000);
	REFUSED(-EINVAL, mac_table_size, 100);
	assert_int_equal(vb_brick_edges(a.sw), 2);
	/* Nothing of a refused one stays behind. */
	assert_int_equal(vb_vxlan_create("x", &good, a.sw, &brick), 0);
	assert_int_equal(vb_brick_destroy(brick), 0);
}

static void remotes_that_are_no_other_hosts_are_refused(void **state)
{
	static const char *const bad[] = {"", "host", "127.0.0.1", "0.0.0.0", "239.1.1.1",
		"255.255.255.255", "fd00::2", "127.0.0.2 "};
	const char *many[VB_REMOTES_MAX + 1];

	(void)state;
	for (unsigned int i = 0; i < RTE_DIM(bad); i++) {
		const char *const remotes[] = {"127.0.0.4", bad[i]};

		assert_int_equal(vb_vxlan_set_remotes(a.vxlan, remotes, 2), -EINVAL);
	}
	for (unsigned int i = 0; i < RTE_DIM(many); i++)
		many[i] = "127.0.0.4";
	assert_int_equal(vb_vxlan_set_remotes(a.vxlan, many, RTE_DIM(many)), -E2BIG);
	/* Those before are still there. */
	says(&a, EVERYBODY, 1, 60);
	hears(&b, EVERYBODY, 1, 60);
}

/* ---- the set of remotes ---- */

static void make_hosts(union vxlan_addr *out, uint32_t first, uint32_t n)
{
	memset(out, 0, n * sizeof(*out));
	for (uint32_t i = 0; i < n; i++) {
		out[i].in.sin_family = AF_INET;
		out[i].in.sin_addr.s_addr = htonl(0x0a000000 + first + i);
	}
}

static void kept_hosts_keep_their_slots(void **state)
{
	static union vxlan_addr hosts[VB_REMOTES_MAX];
	struct vxlan_remotes *r, *next;

	(void)state;
	make_hosts(hosts, 0, VB_REMOTES_MAX);
	r = vxlan_remotes_new(hosts, VB_REMOTES_MAX, NULL);
	/* A window over the hosts moves on: half stay, half are new. */
	for (uint32_t first = 512; first < 512 * 20; first += 512) {
		make_hosts(hosts, first, VB_REMOTES_MAX);
		next = vxlan_remotes_new(hosts, VB_REMOTES_MAX, r);
		assert_int_equal(next->n, VB_REMOTES_MAX);
		for (uint32_t i = 0; i < VB_REMOTES_MAX; i++) {
			int before = vxlan_remotes_find(r, &hosts[i]);
			int slot = vxlan_remotes_find(next, &hosts[i]);

			assert_true(vxlan_remotes_has(next, slot));
			assert_int_equal(before >= 0, i < 512);
			if (before >= 0)
				assert_int_equal(slot, before);
			else
				assert_false(vxlan_remotes_has(r, slot));
		}
		assert_true(next->nb_slots <= 2 * VB_REMOTES_MAX);
		free(r);
		r = next;
	}
	free(r);
}

static void doubles_are_one_host(void **state)
{
	union vxlan_addr hosts[3];
	struct vxlan_remotes *r;

	(void)state;
	make_hosts(hosts, 1, 3);
	hosts[2] = hosts[0];
	r = vxlan_remotes_new(hosts, 3, NULL);
	assert_int_equal(r->n, 2);
	make_hosts(hosts, 4, 1);
	assert_int_equal(vxlan_remotes_find(r, &hosts[0]), -1);
	free(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(addresses_are_learnt),
		T(what_guests_left_is_done_before),
		T(ipv6_is_as_good),
		T(an_address_that_moves_is_followed),
		T(bad_packets_are_dropped_by_name),
		T(networks_do_not_mix),
		T(frames_keep_to_the_mtu),
		T(flows_are_told_apart_outside),
		T(without_remotes_frames_have_nowhere_to_go),
		T(a_remote_that_leaves_is_forgotten),
		T(the_first_remotes_hear_who_is_here),
		T(dead_remotes_cost_the_others_nothing),
		T(without_buffers_packets_are_lost_by_name),
		T(remotes_that_stay_feel_no_change),
		T(tunnels_come_and_go_under_traffic),
		T(tunnels_go_under_traffic),
		T(what_cannot_be_is_refused),
		T(remotes_that_are_no_other_hosts_are_refused),
		cmocka_unit_test(kept_hosts_keep_their_slots),
		cmocka_unit_test(doubles_are_one_host),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
