/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost-user messages: any sequence of them to a device, through a real socket, with
 * memory, logs and eventfds that are sometimes what they should be; and after each one
 * the rings are run, if there are any.
 *
 * The input is the beginning of the guest's memory, and a list of messages, each with a byte that
 * says which file descriptors come with it.  Numbers that name a ring, a size or an address are
 * cut now and then, so that more than the first check is met.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/runtime.h"
#include "fuzz.h"
#include "vhost/channel.h"
#include "vhost/device.h"

#define FEATURES (1ULL << 15 | 1ULL << 26 | 1ULL << 28 | 1ULL << 29 | 1ULL << 30 | 1ULL << 32)
#define MEMORY 0x10000u
#define QUEUES 2

static int memory_fd, pipe_fds[2], dir_fd, event_fd;
static uint8_t *memory;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_start();
	memory_fd = memfd_create("fuzz", 0);
	event_fd = eventfd(0, EFD_NONBLOCK);
	if (ftruncate(memory_fd, MEMORY) != 0 || pipe(pipe_fds) != 0)
		abort();
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	dir_fd = open("/", O_RDONLY);
	if (memory == MAP_FAILED || dir_fd < 0)
		abort();
	return 0;
}

/* Numbers that could be meant. */
static void tame(struct vhost_message *msg, uint8_t how)
{
	uint32_t n;

	switch (msg->header.request) {
	case VHOST_SET_MEM_TABLE:
		for (uint32_t i = 0; i < VHOST_REGIONS_MAX; i++) {
			struct vhost_region_offer r = msg->payload.table.regions[i];

			r.size %= MEMORY / 2;
			r.offset %= MEMORY / 2;
			r.gpa = r.uva = i * MEMORY;
			msg->payload.table.regions[i] = r;
		}
		n = 1 + msg->payload.table.nb_regions % VHOST_REGIONS_MAX;
		msg->payload.table.nb_regions = n;
		msg->header.size = 8 + n * sizeof(struct vhost_region_offer);
		return;
	case VHOST_SET_VRING_NUM:
		msg->payload.state.num = 1u << msg->payload.state.num % 9;
		break;
	case VHOST_SET_VRING_ADDR:
		msg->payload.addr.desc %= MEMORY;
		msg->payload.addr.avail %= MEMORY;
		msg->payload.addr.used %= MEMORY;
		break;
	case VHOST_SET_FEATURES:
		msg->payload.u64 = how & 2 ? FEATURES : msg->payload.u64 & FEATURES;
		return;
	case VHOST_SET_LOG_BASE:
		msg->payload.log.size %= MEMORY;
		msg->payload.log.offset %= MEMORY;
		return;
	default:
		break;
	}
	msg->payload.state.index %= QUEUES * 2;
}

/* The right size of most, so that they get through. */
static const uint8_t sizes[] = {0, 0, 8, 0, 0, 40, 16, 0, 8, 40, 8, 8, 8, 8, 8, 0, 8, 0, 8, 8, 8};

static void send_one(struct input *in, int fd)
{
	const int choice[] = {memory_fd, event_fd, pipe_fds[0], dir_fd};
	uint8_t how = take_byte(in), what = take_byte(in);
	uint32_t nb_fds = (what >> 2) % (VHOST_FDS_MAX + 2);
	int fds[VHOST_FDS_MAX + 2];
	union {
		char buf[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control = {0};
	struct vhost_message msg = {.header = {.request = take_byte(in) % 24, .flags = 1}};
	struct iovec iov = {.iov_base = &msg};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	msg.header.size = msg.header.request < sizeof(sizes) ? sizes[msg.header.request] : 8;
	if ((how & 0xf0) == 0)
		take(in, &msg.header.flags, 8);
	take(in, (uint8_t *)&msg + sizeof(msg.header),
		RTE_MIN(msg.header.size, (uint32_t)sizeof(msg.payload)));
	if (how & 1)
		tame(&msg, how);
	if (msg.header.request == VHOST_SET_MEM_TABLE && (how & 4) != 0)
		nb_fds = RTE_MIN(msg.payload.table.nb_regions, (uint32_t)VHOST_FDS_MAX);
	for (uint32_t i = 0; i < nb_fds; i++)
		fds[i] = choice[what & 3];
	if (nb_fds > 0) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(nb_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nb_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, nb_fds * sizeof(int));
	}
	iov.iov_len = sizeof(msg.header) + RTE_MIN(msg.header.size, (uint32_t)sizeof(msg.payload));
	(void)!sendmsg(fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void run_rings(struct vhost_device *dev)
{
	for (uint32_t pair = 0; pair < QUEUES; pair++) {
		struct vhost_ring *to = &dev->rings[VHOST_RING_TO_GUEST(pair)],
				  *from = &dev->rings[VHOST_RING_FROM_GUEST(pair)];
		struct rte_mbuf *pkts[VB_BURST];
		struct vb_counters row = {0};
		uint16_t n;

		if ((dev->enabled >> pair & 1) == 0)
			continue;
		n = vhost_ring_receive(from, from->vring, &row, pkts, VB_BURST);
		vhost_ring_send(to, to->vring, &row, pkts, n);
		vhost_ring_release(from, from->vring);
	}
}

/* Read one message as a session does; false: it would be closed. */
static bool handle_one(struct vhost_device *dev, struct vhost_channel *c)
{
	struct vhost_outcome outcome;
	uint32_t nb_fds;

	switch (vhost_channel_read(c)) {
	case VHOST_READ_MORE:
		return true;
	case VHOST_READ_MESSAGE:
		break;
	default:
		return false;
	}
	if (!vhost_message_check(&c->msg, c->nb_fds, dev->nb_rings))
		return false;
	nb_fds = c->nb_fds;
	c->nb_fds = 0;
	outcome = vhost_device_handle(dev, &c->msg, c->fds, nb_fds);
	if (outcome.fault != VB_FAULT_NONE && !outcome.refused)
		return false;
	return !outcome.reply || vhost_channel_answer(c, &c->msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct vhost_channel channel;
	struct vhost_device dev;
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) != 0 ||
		vhost_device_init(&dev, FEATURES, QUEUES) != 0)
		abort();
	vhost_channel_init(&channel, sockets[0]);
	memset(memory, 0, MEMORY);
	take(&in, memory, (size_t)take_byte(&in) * 8);
	while (in.left > 0) {
		send_one(&in, sockets[1]);
		if (!handle_one(&dev, &channel))
			break;
		run_rings(&dev);
	}
	vhost_device_fini(&dev);
	vhost_channel_fini(&channel);
	close(sockets[1]);
	fuzz_check_buffers();
	return 0;
}
