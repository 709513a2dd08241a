/* SPDX-License-Identifier: Apache-2.0
 *
 * A signal with an empty handler: sleeps and polls return with EINTR, and are not
 * resumed (signal(7)).  SIGURG is ignored by default, so one too many does no harm.
 */
#include "core/nudge.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUDGE SIGURG

static void do_nothing(int number)
{
	(void)number;
}

void vb_nudge_init(void)
{
	const struct sigaction action = {.sa_handler = do_nothing};

	sigaction(NUDGE, &action, NULL);
}

void vb_nudge(pid_t tid)
{
	syscall(SYS_tgkill, getpid(), tid, NUDGE);
}

static bool has_name(const char *tid, const char *name)
{
	char path[64], comm[32];
	bool same = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.10s/comm", tid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	if (fgets(comm, sizeof(comm), f) != NULL) {
		comm[strcspn(comm, "\n")] = '\0';
		same = strcmp(comm, name) == 0;
	}
	fclose(f);
	return same;
}

pid_t vb_thread_find(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t found = -1;

	while (tasks != NULL && found < 0 && (entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] != '.' && has_name(entry->d_name, name))
			found = atoi(entry->d_name);
	if (tasks != NULL)
		closedir(tasks);
	return found;
}
