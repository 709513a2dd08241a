/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see watchdog.h.
 */
#define _GNU_SOURCE
#include "core/watchdog.h"

#include <fcntl.h>
#include <pthread.h>
#include <rte_common.h>
#include <rte_log.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/runtime.h"

#define MS 1000000ULL
#define TICKS 20 /* within the limit */

static struct {
	pthread_mutex_t lock;
	struct vb_pulse *pulses;
	uint64_t limit_ns;
	uint64_t ticks; /* atomic */
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER};

void vb_pulse_start(struct vb_pulse *pulse, const char *name)
{
	*pulse = (struct vb_pulse){.name = name, .tid = gettid()};
	pthread_mutex_lock(&dog.lock);
	pulse->next = dog.pulses;
	dog.pulses = pulse;
	pthread_mutex_unlock(&dog.lock);
}

uint64_t vb_watchdog_ticks(void)
{
	return vb_count_read(&dog.ticks);
}

/* ---- what a thread does ---- */

/* Read a file of the thread's, without a lock that it might hold; false: it cannot be read. */
static bool read_task(pid_t tid, const char *file, char *buf, size_t size)
{
	char path[64];
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, buf, size - 1);
		close(fd);
	}
	buf[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* R: it runs or waits for a processor; another letter: it waits for something else. */
static char state_of(pid_t tid)
{
	const char *end;
	char line[256];

	if (!read_task(tid, "stat", line, sizeof(line)))
		return '?';
	/* After the name, in which anything can stand. */
	end = strrchr(line, ')');
	return end != NULL && end[1] == ' ' ? end[2] : '?';
}

/* Its processor time; 0: not known. */
static uint64_t cpu_ns_of(pid_t tid)
{
	char line[128];

	return read_task(tid, "schedstat", line, sizeof(line)) ? strtoull(line, NULL, 10) : 0;
}

/* Of the last tick_ns, in which it gave no sign of life, those in which it could have. */
static uint64_t lost_ns(struct vb_pulse *p, uint64_t tick_ns)
{
	uint64_t before = p->cpu_ns;

	p->state = state_of(p->tid);
	p->cpu_ns = cpu_ns_of(p->tid);
	if (p->state != 'R' || p->cpu_ns == 0)
		return tick_ns;
	return before != 0 ? RTE_MIN(p->cpu_ns - before, tick_ns) : 0;
}

static const char *doing(char state)
{
	switch (state) {
	case 'R':
		return "running";
	case 'S':
	case 'D':
		return "blocked in the kernel";
	case 'T':
	case 't':
		return "stopped by a tracer";
	default:
		return "state unknown";
	}
}

/* ---- the end ---- */

/* All that hang now, since one of them may be why the others do. */
static void describe(char *buf, size_t size)
{
	size_t len = 0;

	for (const struct vb_pulse *p = dog.pulses; p != NULL && len < size; p = p->next)
		if (p->stuck_ns > dog.limit_ns / 2)
			len += snprintf(buf + len, size - len,
				"%s%s has hung for %.1f s (thread %d, %s)", len > 0 ? ", " : "",
				p->name, p->stuck_ns / 1e9, p->tid, doing(p->state));
}

static void end_process(void)
{
	const struct timespec moment = {.tv_nsec = 20 * MS};
	char who[400], line[512];
	sigset_t alarms;
	int len;

	describe(who, sizeof(who));
	len = snprintf(line, sizeof(line),
		"vhost-brickd: watchdog: %s; ending the process, as guests would freeze\n", who);
	(void)!write(STDERR_FILENO, line, RTE_MIN(len, (int)sizeof(line) - 1));
	/* Should the log hang as well. */
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
	alarm(1);
	rte_log(RTE_LOG_CRIT, RTE_LOGTYPE_USER1, "watchdog: %s\n", who);
	/* For who reads it from its pipe. */
	nanosleep(&moment, NULL);
	abort();
}

/* ---- the thread ---- */

/* True: it hangs. */
static bool look_at(struct vb_pulse *p, uint64_t tick_ns)
{
	uint64_t beats = vb_count_read(&p->beats);

	if ((beats & 1) == 0 || beats != p->seen) {
		p->seen = beats;
		p->stuck_ns = p->cpu_ns = 0;
		return false;
	}
	p->stuck_ns += lost_ns(p, tick_ns);
	return p->stuck_ns > dog.limit_ns;
}

static void *watchdog_main(void *arg)
{
	const uint64_t tick_ns = dog.limit_ns / TICKS;
	const struct timespec tick = {
		.tv_sec = tick_ns / (1000 * MS), .tv_nsec = tick_ns % (1000 * MS)};

	for (;;) {
		bool hangs = false;

		nanosleep(&tick, NULL);
		pthread_mutex_lock(&dog.lock);
		for (struct vb_pulse *p = dog.pulses; p != NULL; p = p->next)
			hangs |= look_at(p, tick_ns);
		if (hangs)
			end_process();
		pthread_mutex_unlock(&dog.lock);
		vb_count(&dog.ticks, 1);
	}
	return arg;
}

int vb_watchdog_start(uint32_t limit_ms)
{
	pthread_t thread;

	dog.limit_ns = limit_ms * MS;
	return vb_thread_start(&thread, "vb-watchdog", watchdog_main, NULL);
}
