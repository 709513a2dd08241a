/* SPDX-License-Identifier: Apache-2.0
 *
 * A write() to an eventfd whose count is at its limit waits for a reader, unless it is
 * non-blocking, which the frontend can change at any time.  So nobody writes without
 * limited patience (core/patience.h).  (The kernel's asynchronous I/O never waits, but
 * takes three times as long, and makes the end of a process wait for RCU: 30 ms.)
 */
#include "vhost/call.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/patience.h"

bool vhost_call_is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(name)];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target));
	return len == sizeof(name) - 1 && memcmp(target, name, len) == 0;
}

bool vhost_call(int fd)
{
	const uint64_t one = 1;
	bool waited;

	vb_patience_begin();
	/* EAGAIN: it is at its limit, so the guest has been interrupted. */
	waited = write(fd, &one, sizeof(one)) < 0 && errno == EINTR;
	vb_patience_end();
	return !waited;
}
