/* SPDX-License-Identifier: Apache-2.0
 *
 * The tap brick against a real kernel interface, in a network namespace of its own.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <poll.h>
#include <rte_cycles.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/event.h"
#include "core/fault.h"
#include "tcp_frame.h"

#define IFNAME "vbtest0"

static struct vb_brick *sw, *tap;
static int packet_fd;

static int tun_fd(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = IFNAME};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void set_persistent(unsigned long on)
{
	int fd = tun_fd();

	assert_int_equal(ioctl(fd, TUNSETPERSIST, on), 0);
	close(fd);
}

static void set_up(uint32_t mtu)
{
	struct ifreq ifr = {.ifr_name = IFNAME};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	ifr.ifr_mtu = mtu;
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
	ifr.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* A packet socket on the interface: what the kernel sends to and has from us. */
static int packet_open(uint16_t type)
{
	struct ifreq ifr = {.ifr_name = IFNAME};
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(type)};
	int fd = socket(AF_PACKET, SOCK_RAW, htons(type));

	assert_int_equal(ioctl(fd, SIOCGIFINDEX, &ifr), 0);
	addr.sll_ifindex = ifr.ifr_ifindex;
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* The kernel would mix its own frames into ours. */
static void no_ipv6(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);

	if (fd < 0)
		return; /* a kernel without IPv6 */
	assert_int_equal(write(fd, "1", 1), 1);
	close(fd);
}

static int setup(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};

	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	no_ipv6();
	harness_start(1);
	set_persistent(1);
	assert_int_equal(vb_switch_create("switch", &config, &sw), 0);
	assert_int_equal(vb_tap_create("tap/" IFNAME, IFNAME, 4000, sw, &tap), 0);
	/* Up once it has a carrier, so that it takes frames from now on, not some time later. */
	set_up(4000);
	packet_fd = packet_open(0x88b5);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(vb_brick_destroy(tap), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
	close(packet_fd);
	return harness_in_use();
}

static struct vb_stats stats(void)
{
	struct vb_stats s;

	vb_brick_stats(tap, &s);
	return s;
}

static void make_frame(uint8_t *frame, size_t len, uint8_t src)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = i * 7;
	memcpy(frame, "\xff\xff\xff\xff\xff\xff\x02\0\0\0\0", 11);
	frame[11] = src;
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

static void frames_come_from_the_kernel(void **state)
{
	uint8_t frame[4014];
	struct vb_stats before = stats();

	(void)state;
	/* One mbuf, two mbufs, and exactly as long as one mbuf has room. */
	for (size_t len = 60; len <= sizeof(frame); len += len == 60 ? 1988 : 1966) {
		make_frame(frame, len, 1);
		assert_int_equal(write(packet_fd, frame, len), len);
	}
	harness_wait(stats().from_peer_packets == before.from_peer_packets + 3);
	assert_int_equal(stats().from_peer_bytes - before.from_peer_bytes, 60 + 2048 + 4014);
	harness_wait(vb_switch_macs(sw) == 1);
}

static void frames_go_to_the_kernel(void **state)
{
	uint8_t frame[1000], got[1200];
	struct vb_brick *second;
	struct sink sink;
	struct rte_mbuf *m;
	struct pollfd fd = {.fd = packet_fd, .events = POLLIN};

	(void)state;
	sink_create(&sink, "sink");
	join(sw, sink.brick);
	second = sink.brick;
	make_frame(frame, sizeof(frame), 2);
	m = harness_frame(0, 0, sizeof(frame));
	memcpy(rte_pktmbuf_mtod(m, void *), frame, sizeof(frame));
	push_into(sw, second->edges[0].peer_index, &m, 1);
	assert_int_equal(poll(&fd, 1, 10000), 1);
	assert_int_equal(read(packet_fd, got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
	harness_wait(stats().to_peer_packets == 1);
	assert_int_equal(vb_brick_destroy(second), 0);
}

/* A packet of 64 KiB and a checksum: the kernel sees finished frames, in their order. */
static void what_guests_left_is_done_before(void **state)
{
	const struct tcp_frame whole = {.version = 6, .payload = 60000, .flags = 0x18},
			       single = {.version = 6, .udp = true, .payload = 999};
	int fd = packet_open(ETH_P_IPV6);
	struct pollfd news = {.fd = fd, .events = POLLIN};
	uint32_t done = 0, n = 0;
	struct rte_mbuf *pkts[2];
	struct sink sink;
	uint8_t got[4100];

	(void)state;
	sink_create(&sink, "sink");
	join(sw, sink.brick);
	pkts[0] = tcp_frame_offload(&whole, 3940);
	pkts[1] = tcp_frame_offload(&single, 0);
	push_into(sw, sink.brick->edges[0].peer_index, pkts, 2);
	for (; done < whole.payload; n++) {
		assert_int_equal(poll(&news, 1, 10000), 1);
		done += tcp_frame_check(&whole, got, read(fd, got, sizeof(got)), done, 3940);
	}
	assert_int_equal(poll(&news, 1, 10000), 1);
	tcp_frame_check(&single, got, read(fd, got, sizeof(got)), 0, 0);
	harness_wait(stats().to_peer_packets == n + 1);
	assert_int_equal(stats().made_packets, n - 1);
	close(fd);
	assert_int_equal(vb_brick_destroy(sink.brick), 0);
}

static void names_that_are_no_tap_are_refused(void **state)
{
	struct vb_brick *brick;

	(void)state;
	assert_int_equal(vb_tap_create("tap/lo", "lo", 1500, sw, &brick), -EINVAL);
	assert_int_equal(vb_tap_create("tap/x", "a-name-that-is-too-long", 1500, sw, &brick),
		-ENAMETOOLONG);
	assert_int_equal(vb_tap_create("tap/x", IFNAME, 1500, sw, &brick), -EBUSY);
	assert_int_equal(vb_tap_set_mtu(tap, 1000000), -EINVAL);
	assert_int_equal(vb_brick_edges(sw), 1);
}

static void a_deleted_interface_is_a_fault(void **state)
{
	struct vb_event event = {0};
	struct pollfd fd = {.fd = vb_event_fd(), .events = POLLIN};

	(void)state;
	/* The device cannot go while it is attached but by rtnetlink; move away with it. */
	assert_int_equal(system("ip link delete " IFNAME), 0);
	assert_int_equal(poll(&fd, 1, 10000), 1);
	assert_int_equal(vb_events(&event, 1), 1);
	assert_int_equal(event.kind, VB_EVENT_FAULT);
	assert_int_equal(event.fault, VB_FAULT_INTERFACE_GONE);
	assert_string_equal(event.brick, "tap/" IFNAME);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_come_from_the_kernel),
		T(frames_go_to_the_kernel),
		T(what_guests_left_is_done_before),
		T(names_that_are_no_tap_are_refused),
		T(a_deleted_interface_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
