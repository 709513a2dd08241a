/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's round: take the snapshot, pull every brick on its poll list whose turn it
 * is (rota.h), say that it holds nothing any more (quiescent).  Each round is a beat of
 * its pulse (watchdog.h).
 *
 * After a while without a packet a worker sleeps until there is one (sleep.h): it arms
 * all that it polls, and if there is nothing even then it waits.  Having found nothing when
 * it wakes it sleeps again at once, so that who wakes it without end takes no more of it
 * than polling would.  Where something cannot wake it, such as a driver that has to be
 * polled, it naps between its rounds instead, the longer the longer it has been idle.
 *
 * For benchmarks a round can note what each poll cost (cost.h); else that costs a branch.
 */
#include "core/worker.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#include "core/alive.h"
#include "core/cost.h"
#include "core/graph.h"
#include "core/patience.h"
#include "core/rota.h"
#include "core/sleep.h"
#include "core/watchdog.h"

/* A nap is a fiftieth of a worker's idle time, within bounds.  The longest is what the
 * first packet after a pause may have to wait.
 */
#define NAP_SHARE 50
#define NAP_MIN_NS 20000
#define NAP_MAX_NS 200000

struct worker {
	uint64_t polls;
	uint64_t busy_polls;
	uint64_t busy_cycles;
	uint64_t sleeps;
	uint64_t started;
	int32_t core;
	struct vb_ctx ctx;
	struct vb_pulse pulse;
	char name[16];
	struct vb_rota rota;
	uint64_t measured; /* the measurement that cost belongs to */
	struct vb_cost cost;
} __rte_cache_aligned;

static struct worker workers[VB_WORKERS_MAX];
static uint32_t nb_workers;
static uint64_t sleep_after_ns;
static bool stopping; /* atomic */

/* The number of the present measurement, from 1; 0: there is none. */
static uint64_t measurement;

/* Poll what is due; always inlined: measuring is known then. */
static __rte_always_inline uint32_t poll_due(
	struct worker *w, const struct vb_snapshot *s, bool measuring)
{
	uint64_t before = measuring ? rte_rdtsc() : 0;
	uint32_t packets = 0;

	for (uint32_t word = 0; word * 64 < s->nb_polls; word++) {
		uint64_t due = vb_rota_due(&w->rota, word, s->nb_polls);

		for (; due != 0; due &= due - 1) {
			uint32_t i = word * 64 + __builtin_ctzll(due);
			const struct vb_poll *p = &s->polls[i];
			uint16_t n = p->node->ops->pull(&w->ctx, p->node, p->edge);

			vb_rota_note(&w->rota, i, n > 0);
			packets += n;
			if (measuring) {
				uint64_t now = rte_rdtsc();

				vb_cost_add(&w->cost, now - before, n);
				before = now;
			}
		}
	}
	vb_rota_next(&w->rota, packets > 0);
	return packets;
}

static __rte_noinline uint32_t poll_measured(struct worker *w, uint64_t number)
{
	if (w->measured != number) {
		vb_cost_reset(&w->cost);
		w->measured = number;
	}
	return poll_due(w, vb_graph_snapshot(), true);
}

static inline uint32_t poll_round(struct worker *w)
{
	uint64_t number = __atomic_load_n(&measurement, __ATOMIC_RELAXED);

	if (unlikely(number != 0))
		return poll_measured(w, number);
	return poll_due(w, vb_graph_snapshot(), false);
}

static void nap(uint32_t number, uint64_t idle_ns)
{
	uint64_t share = RTE_MIN(idle_ns / NAP_SHARE, (uint64_t)NAP_MAX_NS);
	const struct timespec pause = {.tv_nsec = RTE_MAX(share, (uint64_t)NAP_MIN_NS)};

	/* Offline, so that nobody who changes the graph waits for a sleeper. */
	vb_graph_offline(number);
	nanosleep(&pause, NULL);
	vb_graph_online(number);
}

/* Whether all that it polls can wake it. */
static bool can_sleep(const struct vb_ctx *ctx, const struct vb_snapshot *s)
{
	for (uint32_t i = 0; i < s->nb_polls; i++) {
		const struct vb_poll *p = &s->polls[i];

		if (p->node->ops->can_wake == NULL ||
			!p->node->ops->can_wake(ctx, p->node, p->edge))
			return false;
	}
	return true;
}

/* False: there is something to do. */
static bool arm_all(const struct vb_ctx *ctx, const struct vb_snapshot *s)
{
	for (uint32_t i = 0; i < s->nb_polls; i++) {
		const struct vb_poll *p = &s->polls[i];

		if (!p->node->ops->arm(ctx, p->node, p->edge))
			return false;
	}
	return !__atomic_load_n(&stopping, __ATOMIC_RELAXED);
}

static void disarm_all(const struct vb_ctx *ctx, const struct vb_snapshot *s)
{
	for (uint32_t i = 0; i < s->nb_polls; i++) {
		const struct vb_poll *p = &s->polls[i];

		if (p->node->ops->disarm != NULL)
			p->node->ops->disarm(ctx, p->node, p->edge);
	}
}

/* Armed: wait.  Offline, so that nobody who changes the graph waits for a sleeper. */
static void wait_for_news(struct worker *w)
{
	vb_count(&w->sleeps, 1);
	vb_pulse_idle(&w->pulse);
	vb_patience_end();
	vb_graph_offline(w->ctx.worker);
	vb_sleep_wait(w->ctx.worker);
	vb_graph_online(w->ctx.worker);
	vb_patience_begin();
	vb_pulse_work(&w->pulse);
}

/* Sleep, unless there is something to do; false: it cannot be woken by everything. */
static bool sleep_until_news(struct worker *w)
{
	const struct vb_snapshot *s;
	bool can;

	vb_sleep_begin(w->ctx.worker);
	s = vb_graph_snapshot();
	can = can_sleep(&w->ctx, s);
	if (can) {
		if (arm_all(&w->ctx, s))
			wait_for_news(w);
		/* Edges that have gone meanwhile need no more; new ones are not armed. */
		disarm_all(&w->ctx, vb_graph_snapshot());
	}
	vb_sleep_end(w->ctx.worker);
	vb_graph_quiescent(w->ctx.worker);
	return can;
}

static void rest(struct worker *w, uint64_t idle_ns)
{
	if (idle_ns < sleep_after_ns)
		rte_pause();
	else if (!sleep_until_news(w))
		nap(w->ctx.worker, idle_ns);
}

static void run(struct worker *w, uint64_t hz)
{
	double ns_per_cycle = 1e9 / hz;
	uint64_t now = rte_rdtsc(), busy = now;

	while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
		uint64_t start = now;

		vb_pulse_work(&w->pulse);
		w->ctx.now_s = start / hz;
		vb_count(&w->polls, 1);
		if (poll_round(w) > 0) {
			now = busy = rte_rdtsc();
			vb_count(&w->busy_polls, 1);
			vb_count(&w->busy_cycles, now - start);
			vb_graph_quiescent(w->ctx.worker);
			continue;
		}
		vb_graph_quiescent(w->ctx.worker);
		rest(w, (start - busy) * ns_per_cycle);
		now = rte_rdtsc();
	}
}

static int worker_main(void *arg)
{
	struct worker *w = arg;

	/* Without it the kernel stretches a nap by 50 us. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	vb_alive_hold();
	vb_patience_begin();
	snprintf(w->name, sizeof(w->name), "worker %u", w->ctx.worker);
	vb_pulse_start(&w->pulse, w->name);
	vb_graph_online(w->ctx.worker);
	run(w, rte_get_tsc_hz());
	vb_graph_offline(w->ctx.worker);
	vb_patience_end();
	vb_pulse_idle(&w->pulse);
	return 0;
}

int vb_workers_start(uint32_t nb, const int32_t *cores, uint32_t idle_us)
{
	unsigned int lcore;
	uint32_t i = 0;

	sleep_after_ns = idle_us > 0 ? idle_us * 1000ULL : UINT64_MAX;
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		struct worker *w = &workers[i];

		if (i == nb)
			break;
		w->core = cores[i];
		w->started = rte_rdtsc();
		w->ctx = (struct vb_ctx){.worker = i, .nb_workers = nb};
		if (rte_eal_remote_launch(worker_main, w, lcore) != 0)
			return -EIO;
		nb_workers = ++i;
	}
	return i == nb ? 0 : -EIO;
}

void vb_workers_stop(void)
{
	__atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
	vb_sleep_wake_all();
	rte_eal_mp_wait_lcore();
}

int vb_worker_stats(uint32_t worker, struct vb_worker_stats *out)
{
	const struct worker *w = &workers[worker];

	if (worker >= nb_workers)
		return -ENOENT;
	*out = (struct vb_worker_stats){
		.polls = vb_count_read(&w->polls),
		.busy_polls = vb_count_read(&w->busy_polls),
		.busy_cycles = vb_count_read(&w->busy_cycles),
		.cycles = rte_rdtsc() - w->started,
		.sleeps = vb_count_read(&w->sleeps),
		.core = w->core,
	};
	return 0;
}

void vb_workers_measure(bool on)
{
	static uint64_t begun;

	if (on)
		begun++;
	__atomic_store_n(&measurement, on ? begun : 0, __ATOMIC_RELAXED);
}

int vb_worker_cost(uint32_t worker, struct vb_worker_cost *out)
{
	const struct vb_cost *c = &workers[worker].cost;

	if (worker >= nb_workers)
		return -ENOENT;
	*out = (struct vb_worker_cost){
		.polls = vb_count_read(&c->polls),
		.packets = vb_count_read(&c->packets),
		.cycles = vb_count_read(&c->cycles),
		.full_polls = vb_count_read(&c->full_polls),
		.full_packets = vb_count_read(&c->full_packets),
		.empty_polls = vb_count_read(&c->empty_polls),
		.empty_cycles = vb_count_read(&c->empty_cycles),
		.median = vb_cost_median(c),
	};
	return 0;
}
