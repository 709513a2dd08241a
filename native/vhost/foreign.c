/* SPDX-License-Identifier: Apache-2.0
 *
 * Closing files of others; see foreign.h.
 */
#include "vhost/foreign.h"

#include <sys/socket.h>
#include <unistd.h>

void vhost_foreign_close(int fd)
{
	const struct linger not_at_all = {0};

	/* What is no socket says so. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &not_at_all, sizeof(not_at_all));
	close(fd);
}
