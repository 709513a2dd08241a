/* SPDX-License-Identifier: Apache-2.0
 *
 * Signalling eventfds by way of the kernel's asynchronous I/O; see call.h.
 *
 * Each thread has a context of its own.  Completions are taken out of its ring (struct
 * aio_ring of the kernel, mapped where the context says) without a system call; nobody
 * looks at them.  Where there is no asynchronous I/O, a guest is interrupted the usual
 * way.
 */
#include "vhost/call.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH 64
#define RING_MAGIC 0xa10a10a1

/* The kernel's fs/aio.c; the layout is fixed, since libraries read it. */
struct completions {
	uint32_t id;
	uint32_t nr;
	uint32_t head;
	uint32_t tail;
	uint32_t magic;
};

static __thread struct {
	bool tried;
	aio_context_t context; /* 0: there is none */
	struct completions *ring;
	int zero;
} aio;

bool vhost_call_is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(name)];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target));
	return len == sizeof(name) - 1 && memcmp(target, name, len) == 0;
}

static void start(void)
{
	aio.tried = true;
	aio.zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (aio.zero < 0 || syscall(SYS_io_setup, DEPTH, &aio.context) != 0) {
		aio.context = 0;
		return;
	}
	aio.ring = (struct completions *)(uintptr_t)aio.context;
	if (aio.ring->magic != RING_MAGIC) {
		syscall(SYS_io_destroy, aio.context);
		aio.context = 0;
	}
}

void vhost_call(int fd)
{
	const uint64_t one = 1;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)aio.zero,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list[] = {&cb};

	if (!aio.tried) {
		start();
		cb.aio_fildes = (uint32_t)aio.zero;
	}
	if (aio.context == 0) {
		(void)!write(fd, &one, sizeof(one));
		return;
	}
	(void)syscall(SYS_io_submit, aio.context, 1, list);
	/* It has completed, and nobody else takes out of the ring. */
	__atomic_store_n(&aio.ring->head, __atomic_load_n(&aio.ring->tail, __ATOMIC_ACQUIRE),
		__ATOMIC_RELEASE);
}
