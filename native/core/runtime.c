/* SPDX-License-Identifier: Apache-2.0
 *
 * Start and stop: DPDK's environment, packet buffers, RCU, event queue, workers.
 *
 * lcore 0 is the main one, bound to the control cores; the workers are lcores 1
 * and up.  --lcores says which cores those are, so that lcore numbers need not
 * be core numbers.
 */
#define _GNU_SOURCE
#include "core/runtime.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/alive.h"
#include "core/event.h"
#include "core/graph.h"
#include "core/loan.h"
#include "core/offload.h"
#include "core/pool.h"
#include "core/sleep.h"
#include "core/tsc.h"
#include "core/watchdog.h"
#include "core/worker.h"
#include "probe/capture.h"
#include "vhost/guard.h"

#define LCORES_MAX 2048

const uint32_t *vb_peer_uids;
uint32_t vb_nb_peer_uids;
bool vb_standby;
uint32_t vb_nb_workers;

static struct {
	const struct vb_options *options; /* NULL: it was not begun */
	pthread_t thread;
	int result;
} prelude;

static bool started;
static int32_t worker_cores[VB_WORKERS_MAX];
static uint32_t idle_sleep_us;

const char *vb_dpdk_version(void)
{
	return rte_version();
}

/* One line, its level before it, in one write. */
static ssize_t log_write(void *cookie, const char *buf, size_t size)
{
	char line[1024];
	int len = snprintf(
		line, sizeof(line), "%d %.*s", rte_log_cur_msg_loglevel(), (int)size, buf);

	if (len >= (int)sizeof(line)) {
		len = sizeof(line);
		line[len - 1] = '\n';
	}
	/* A full pipe loses the line: logging must not stall a vhost thread. */
	(void)!write((int)(intptr_t)cookie, line, len);
	return size;
}

int vb_log_to(int fd)
{
	const cookie_io_functions_t io = {.write = log_write};
	FILE *f = fopencookie((void *)(intptr_t)fd, "w", io);

	if (f == NULL)
		return -errno;
	setlinebuf(f);
	return rte_openlog_stream(f);
}

/* Append an lcore set: "0@(2,3)" or, without cores, "0@(all we may use)". */
static size_t add_lcore(
	char *buf, size_t len, uint32_t lcore, const int32_t *cores, uint32_t nb_cores)
{
	cpu_set_t all;
	const char *sep = "";

	len += snprintf(buf + len, LCORES_MAX - len, "%s%u@(", lcore ? "," : "", lcore);
	sched_getaffinity(0, sizeof(all), &all);
	for (int c = 0; nb_cores == 0 && c < CPU_SETSIZE && len < LCORES_MAX; c++) {
		if (!CPU_ISSET(c, &all))
			continue;
		len += snprintf(buf + len, LCORES_MAX - len, "%s%d", sep, c);
		sep = ",";
	}
	for (uint32_t i = 0; i < nb_cores && len < LCORES_MAX; i++) {
		len += snprintf(buf + len, LCORES_MAX - len, "%s%d", sep, cores[i]);
		sep = ",";
	}
	if (len < LCORES_MAX)
		len += snprintf(buf + len, LCORES_MAX - len, ")");
	return len;
}

static int lcores_arg(const struct vb_options *o, char *buf)
{
	size_t len = add_lcore(buf, 0, 0, o->control_cores, o->nb_control_cores);

	for (uint32_t i = 0; i < o->nb_workers && len < LCORES_MAX; i++)
		len = add_lcore(
			buf, len, i + 1, &o->worker_cores[i], o->worker_cores[i] >= 0 ? 1 : 0);
	return len < LCORES_MAX ? 0 : -E2BIG;
}

static int eal_start(const struct vb_options *o)
{
	char lcores[LCORES_MAX];
	char **argv = calloc(o->nb_eal_args + 4, sizeof(*argv));
	int argc = 0, ret;

	if (argv == NULL)
		return -ENOMEM;
	ret = lcores_arg(o, lcores);
	if (ret == 0) {
		argv[argc++] = (char *)"vhost-brickd";
		argv[argc++] = (char *)"--lcores";
		argv[argc++] = lcores;
		for (uint32_t i = 0; i < o->nb_eal_args; i++)
			argv[argc++] = (char *)o->eal_args[i];
		vb_tsc_watch();
		ret = rte_eal_init(argc, argv) < 0 ? -EIO : 0;
		vb_tsc_unwatch();
	}
	free(argv);
	return ret;
}

/* The limit is for files; programs that the kernel pipes core dumps into see past it, but
 * nobody sees past the second, which also keeps others of our user from reading our memory.
 */
static int forbid_core_dumps(void)
{
	const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return -errno;
	return 0;
}

static void *prelude_main(void *arg)
{
	prelude.result = eal_start(prelude.options);
	return arg;
}

int vb_prelude(const struct vb_options *o)
{
	int ret;

	if (started || prelude.options != NULL)
		return -EALREADY;
	prelude.options = o;
	ret = pthread_create(&prelude.thread, NULL, prelude_main, NULL);
	if (ret != 0)
		prelude.options = NULL;
	return -ret;
}

/* As if the calling thread had started it: its children inherit the control cores. */
static int prelude_end(void)
{
	cpu_set_t cores;

	pthread_join(prelude.thread, NULL);
	prelude.options = NULL;
	if (prelude.result != 0)
		return prelude.result;
	cores = rte_lcore_cpuset(rte_get_main_lcore());
	return -pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
}

static int start_workers(void)
{
	return vb_workers_start(vb_nb_workers, worker_cores, idle_sleep_us);
}

int vb_start(const struct vb_options *o)
{
	int ret;

	if (started)
		return -EALREADY;
	if (o->nb_workers < 1 || o->nb_workers > VB_WORKERS_MAX)
		return -EINVAL;
	ret = prelude.options != NULL ? prelude_end() : eal_start(o);
	/* Not before: vb_tsc_watch() reads what then is root's alone. */
	if (ret == 0 && o->no_core_dumps)
		ret = forbid_core_dumps();
	if (ret != 0)
		return ret;
	started = true;
	vb_nb_workers = o->nb_workers;
	idle_sleep_us = o->idle_sleep_us;
	memcpy(worker_cores, o->worker_cores, sizeof(worker_cores));
	vb_peer_uids = o->peer_uids;
	vb_nb_peer_uids = o->nb_peer_uids;
	vb_standby = o->standby;
	vhost_guard_start();
	ret = vb_alive_init();
	if (ret != 0)
		return ret;
	vb_alive_hold();
	ret = vb_offload_start();
	if (ret == 0)
		ret = vb_pool_start(o->nb_mbufs);
	if (ret == 0)
		ret = vb_loans_start();
	if (ret == 0)
		ret = vb_graph_init(o->nb_workers);
	if (ret == 0)
		ret = vb_event_init();
	if (ret == 0)
		ret = vb_sleep_init(o->nb_workers);
	if (ret == 0 && !vb_standby)
		ret = start_workers();
	if (ret == 0 && o->watchdog_ms > 0)
		ret = vb_watchdog_start(o->watchdog_ms);
	return ret;
}

int vb_runtime_take_over(void)
{
	return start_workers();
}

/* Destroy what is polled (ports, taps) before what it is joined to. */
static struct vb_brick *next_to_destroy(void)
{
	struct vb_brick *b, *left;

	pthread_mutex_lock(&vb_lock);
	left = vb_graph_first();
	for (b = left; b != NULL && !b->ops->polled; b = b->next)
		;
	pthread_mutex_unlock(&vb_lock);
	return b != NULL ? b : left;
}

void vb_stop(void)
{
	struct vb_brick *b;

	while ((b = next_to_destroy()) != NULL) {
		pthread_mutex_lock(&vb_lock);
		/* Those that are not polled are joined to one another: none can go first. */
		if (!b->ops->polled)
			vb_graph_isolate(b);
		pthread_mutex_unlock(&vb_lock);
		vb_brick_destroy(b);
	}
	vb_captures_finish();
	vb_workers_stop();
}

int vb_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg)
{
	/* A thread inherits its creator's cores, and only control threads come here. */
	int ret = pthread_create(thread, NULL, main, arg);

	if (ret == 0)
		pthread_setname_np(*thread, name);
	return -ret;
}
