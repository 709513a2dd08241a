/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts EAL's nap short.
 *
 * Where the processor does not tell its frequency (AMD, and most VMs) EAL
 * measures it over a sleep of a tenth of a second (get_tsc_freq()), a third of an
 * outage.  A hundredth is enough, since the result is rounded to 10 MHz: so a
 * thread looks for that very sleep and interrupts it, which nanosleep() does not
 * resume.  EAL reads the clock after it, so the result is right for any length.
 *
 * The kernel shows the system call that a thread is in, and its arguments
 * (proc(5), /proc/PID/task/TID/syscall).  Where it does not, nothing happens.
 */
#include "core/tsc.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/nudge.h"

#define MS 1000000L
#define EAL_NAP (100 * MS)
#define OUR_NAP (10 * MS)
#define LOOK_EVERY (1 * MS)

static struct {
	pthread_t thread;
	pid_t sleeper;
	bool running;
	bool done; /* atomic */
} nap;

static void sleep_ns(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

/* Where the length of the sleep stands that a line of .../syscall is about; 0: no sleep. */
static unsigned long length_of(const char *line)
{
	unsigned long call, args[4];

	if (sscanf(line, "%lu %lx %lx %lx %lx", &call, &args[0], &args[1], &args[2], &args[3]) < 5)
		return 0;
	if (call == SYS_clock_nanosleep)
		return args[2];
	return call == SYS_nanosleep ? args[0] : 0;
}

/* Read through the kernel: by now the place may be used for something else. */
static bool naps(int syscall_fd, int memory_fd)
{
	struct timespec t;
	char line[256];
	ssize_t len = pread(syscall_fd, line, sizeof(line) - 1, 0);
	unsigned long at;

	if (len <= 0)
		return false;
	line[len] = '\0';
	at = length_of(line);
	return at != 0 && pread(memory_fd, &t, sizeof(t), (off_t)at) == sizeof(t) &&
	       t.tv_sec == 0 && t.tv_nsec == EAL_NAP;
}

static int open_to_read(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void *watch(void *arg)
{
	char path[64];
	int syscall_fd, memory_fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)nap.sleeper);
	syscall_fd = open_to_read(path);
	memory_fd = open_to_read("/proc/self/mem");
	while (syscall_fd >= 0 && memory_fd >= 0 &&
		!__atomic_load_n(&nap.done, __ATOMIC_RELAXED)) {
		if (naps(syscall_fd, memory_fd)) {
			sleep_ns(OUR_NAP);
			vb_nudge(nap.sleeper);
			break;
		}
		sleep_ns(LOOK_EVERY);
	}
	if (syscall_fd >= 0)
		close(syscall_fd);
	if (memory_fd >= 0)
		close(memory_fd);
	return arg;
}

void vb_tsc_watch(void)
{
	vb_nudge_init();
	nap.sleeper = (pid_t)syscall(SYS_gettid);
	__atomic_store_n(&nap.done, false, __ATOMIC_RELAXED);
	nap.running = pthread_create(&nap.thread, NULL, watch, NULL) == 0;
}

void vb_tsc_unwatch(void)
{
	__atomic_store_n(&nap.done, true, __ATOMIC_RELAXED);
	if (nap.running)
		pthread_join(nap.thread, NULL);
	nap.running = false;
}
