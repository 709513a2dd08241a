/* SPDX-License-Identifier: Apache-2.0
 *
 * A signal with an empty handler: sleeps and polls return with EINTR, and are not
 * resumed (signal(7)).  SIGURG is ignored by default, so one too many does no harm.
 */
#include "core/nudge.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static void do_nothing(int number)
{
	(void)number;
}

void vb_nudge_init(void)
{
	const struct sigaction action = {.sa_handler = do_nothing};

	sigaction(VB_NUDGE, &action, NULL);
}

void vb_nudge(pid_t tid)
{
	syscall(SYS_tgkill, getpid(), tid, VB_NUDGE);
}
