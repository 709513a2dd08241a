/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "frontend.h"

#include <rte_atomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GPA 0x100000ULL
#define UVA 0x7f0000000000ULL
#define FEATURES (1ULL << 30 | 1ULL << 32 | 1ULL << 15)
#define DESC 0
#define AVAIL 0x1000
#define USED 0x2000
#define BUFFERS 0x4000
#define RING_MEMORY (BUFFERS + FRONTEND_RING * FRONTEND_BUFFER)
#define MEMORY (FRONTEND_RINGS * RING_MEMORY)

/* What is sent from a slot, with its header: short ones are copied and long ones are lent. */
#define frame_len(slot) ((slot) % 2 ? 72 : 1512)

#define ring_at(f, ring, offset) ((void *)((f)->memory + (ring)*RING_MEMORY + (offset)))

static void must(bool ok)
{
	if (!ok)
		abort();
}

void frontend_init(struct frontend *f)
{
	memset(f, 0, sizeof(*f));
	f->socket = -1;
	f->memory_fd = memfd_create("frontend", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(f->memory_fd >= 0 && ftruncate(f->memory_fd, MEMORY) == 0);
	f->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory_fd, 0);
	must(f->memory != MAP_FAILED);
	f->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	f->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void frontend_fini(struct frontend *f)
{
	frontend_leave(f);
	munmap(f->memory, MEMORY);
	close(f->memory_fd);
	close(f->kick);
	close(f->call);
}

struct vhost_region_offer frontend_region(void)
{
	return (struct vhost_region_offer){.gpa = GPA, .size = MEMORY, .uva = UVA};
}

void frontend_connect(struct frontend *f, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(addr.sun_path, path);
	f->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(f->socket, (struct sockaddr *)&addr, sizeof(addr)) == 0);
}

void frontend_leave(struct frontend *f)
{
	if (f->socket >= 0)
		close(f->socket);
	f->socket = -1;
}

void frontend_say(
	struct frontend *f, enum vhost_request request, const void *payload, uint32_t size, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct vhost_header header = {.request = request, .flags = VHOST_VERSION, .size = size};
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)payload, size}};
	struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};

	if (fd >= 0) {
		hdr.msg_control = &control;
		hdr.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	/* The datapath may have closed it: a port that is removed, say. */
	(void)!sendmsg(f->socket, &hdr, MSG_NOSIGNAL);
}

uint64_t frontend_ask(
	struct frontend *f, enum vhost_request request, const void *payload, uint32_t size)
{
	struct {
		struct vhost_header header;
		uint64_t value;
	} __attribute__((packed)) answer = {0};

	frontend_say(f, request, payload, size, -1);
	(void)!recv(f->socket, &answer, sizeof(answer), MSG_WAITALL);
	return answer.value;
}

static void say_state(struct frontend *f, enum vhost_request request, uint32_t ring, uint32_t num)
{
	struct vhost_ring_state state = {ring, num};

	frontend_say(f, request, &state, sizeof(state), -1);
}

/* Receive rings have all their buffers available, transmit rings none. */
static void fill_ring(struct frontend *f, uint32_t ring)
{
	struct vring_desc *desc = ring_at(f, ring, DESC);
	struct vring_avail *avail = ring_at(f, ring, AVAIL);
	struct vring_used *used = ring_at(f, ring, USED);
	bool to_guest = ring % 2 == 0;

	memset(ring_at(f, ring, 0), 0, BUFFERS);
	for (uint16_t i = 0; i < FRONTEND_RING; i++) {
		desc[i] = (struct vring_desc){
			.addr = GPA + ring * RING_MEMORY + BUFFERS + i * FRONTEND_BUFFER,
			.len = to_guest ? FRONTEND_BUFFER : frame_len(i),
			.flags = to_guest ? VRING_DESC_F_WRITE : 0,
		};
		avail->ring[i] = i;
	}
	f->seen[ring] = 0;
	used->idx = 0;
	__atomic_store_n(&avail->idx, to_guest ? FRONTEND_RING : 0, __ATOMIC_RELEASE);
}

static void start_ring(struct frontend *f, uint32_t ring, bool afresh)
{
	uint64_t at = UVA + ring * RING_MEMORY, index = ring;
	struct vhost_ring_addr addr = {
		.index = ring, .desc = at + DESC, .avail = at + AVAIL, .used = at + USED};

	if (afresh)
		fill_ring(f, ring);
	say_state(f, VHOST_SET_VRING_NUM, ring, FRONTEND_RING);
	say_state(f, VHOST_SET_VRING_BASE, ring, 0);
	frontend_say(f, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	frontend_say(f, VHOST_SET_VRING_KICK, &index, sizeof(index), f->kick);
	frontend_say(f, VHOST_SET_VRING_CALL, &index, sizeof(index), f->call);
}

static void start(struct frontend *f, bool afresh)
{
	struct vhost_mem_table table = {.nb_regions = 1, .regions = {frontend_region()}};
	uint64_t features = FEATURES;

	frontend_ask(f, VHOST_GET_FEATURES, NULL, 0);
	frontend_say(f, VHOST_SET_FEATURES, &features, sizeof(features), -1);
	frontend_say(f, VHOST_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd);
	for (uint32_t ring = 0; ring < FRONTEND_RINGS; ring++)
		start_ring(f, ring, afresh);
	for (uint32_t pair = 0; pair < FRONTEND_QUEUES; pair++)
		frontend_enable(f, pair, true);
	/* The answer comes when all before it is done. */
	frontend_ask(f, VHOST_GET_QUEUE_NUM, NULL, 0);
}

void frontend_start(struct frontend *f)
{
	start(f, true);
}

void frontend_resume(struct frontend *f)
{
	start(f, false);
}

void frontend_stop(struct frontend *f)
{
	for (uint32_t ring = 0; ring < FRONTEND_RINGS; ring++) {
		struct vhost_ring_state state = {ring, 0};

		frontend_ask(f, VHOST_GET_VRING_BASE, &state, sizeof(state));
	}
}

void frontend_enable(struct frontend *f, uint32_t pair, bool enable)
{
	say_state(f, VHOST_SET_VRING_ENABLE, pair * 2, enable);
	say_state(f, VHOST_SET_VRING_ENABLE, pair * 2 + 1, enable);
}

bool frontend_send(struct frontend *f, uint32_t pair, uint8_t dst, uint8_t src)
{
	uint32_t ring = pair * 2 + 1;
	struct vring_avail *avail = ring_at(f, ring, AVAIL);
	struct vring_used *used = ring_at(f, ring, USED);
	uint16_t next = avail->idx, slot = next % FRONTEND_RING;
	uint8_t *frame = ring_at(f, ring, BUFFERS + slot * FRONTEND_BUFFER);

	if ((uint16_t)(next - __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE)) >= FRONTEND_RING)
		return false;
	memset(frame, 0, 72);
	frame[12] = frame[18] = 2;
	frame[17] = dst;
	frame[23] = src;
	__atomic_store_n(&avail->idx, next + 1, __ATOMIC_RELEASE);
	/* The datapath sees the frame, or we see that it wants to be told. */
	rte_smp_mb();
	if (frontend_is_to_kick(f, ring))
		frontend_kick(f);
	return true;
}

bool frontend_is_to_kick(const struct frontend *f, uint32_t ring)
{
	const struct vring_used *used = ring_at(f, ring, USED);

	return (__atomic_load_n(&used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY) == 0;
}

void frontend_kick(struct frontend *f)
{
	const uint64_t one = 1;

	(void)!write(f->kick, &one, sizeof(one));
}

uint16_t frontend_used(const struct frontend *f, uint32_t ring)
{
	const struct vring_used *used = ring_at(f, ring, USED);

	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
}

uint32_t frontend_receive(struct frontend *f, uint32_t pair)
{
	struct vring_avail *avail = ring_at(f, pair * 2, AVAIL);
	struct vring_used *used = ring_at(f, pair * 2, USED);
	uint16_t idx = __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
	uint16_t n = idx - f->seen[pair * 2];

	for (uint16_t i = 0; i < n; i++)
		avail->ring[(uint16_t)(avail->idx + i) % FRONTEND_RING] =
			used->ring[(uint16_t)(f->seen[pair * 2] + i) % FRONTEND_RING].id;
	f->seen[pair * 2] = idx;
	__atomic_store_n(&avail->idx, avail->idx + n, __ATOMIC_RELEASE);
	return n;
}
