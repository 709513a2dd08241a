/* SPDX-License-Identifier: Apache-2.0
 *
 * A capture: what passes at a brick, as pcapng.
 *
 * It is a probe (core/graph.h) and a thread.  The probe copies packets into the backlog of
 * the worker that has them, or counts those that find it full, and hands all of them on; it
 * makes no system call, so it does not wake the thread: that looks by itself every few
 * milliseconds, brings the backlogs' packets into one order by their time, and writes.  A
 * reader who is too slow keeps the thread waiting, so backlogs fill; the guest never waits.
 *
 * Whoever started a capture and its thread hold it; who lets go last frees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/graph.h"
#include "core/runtime.h"
#include "probe/backlog.h"
#include "probe/capture.h"
#include "probe/filter.h"
#include "probe/pcapng.h"

#define LOOK_MS 5
/* So old is a packet at least when it is written: those of other workers that are older
 * are in their backlogs by then.
 */
#define SETTLE_NS 1000000ULL
/* Two readings of the clocks differ by less. */
#define NOISE_NS 1000000ULL
/* Having ended, a reader who takes nothing is waited for so long. */
#define PATIENCE_NS 2000000000ULL
#define RETRY_MS 500

/* More than the largest frame. */
#define KEPT_MAX (72u << 10)
#define OUT_SIZE (4 * KEPT_MAX)

/* A moment on all clocks. */
struct moment {
	uint64_t tsc, monotonic, wall;
};

struct vb_capture {
	struct vb_brick *probe;
	struct vb_program program;
	bool wanted[2]; /* by an edge's parity */
	uint32_t snaplen;
	uint64_t max_packets, max_ns;
	uint32_t holders; /* atomic */
	uint32_t nb_backlogs;
	struct vb_backlog *backlogs; /* one a worker, and the last who holds vb_lock */
	char name[VB_NAME_MAX];
	struct moment started;

	/* The thread's. */
	pthread_t thread;
	int fd;
	int stop_fd;	  /* an eventfd: end */
	bool broken;	  /* fd takes no more */
	uint64_t begun;	  /* monotonic ns */
	uint64_t give_up; /* monotonic ns, from when on; 0: it has not ended */
	uint64_t last;	  /* the time of the last packet */
	struct vb_pcapng_totals totals;
	uint32_t nb_out; /* bytes in out */
	uint8_t out[OUT_SIZE];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t nb; /* threads that write */
} writing = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* ---- workers ---- */

static inline uint32_t kept_of(const struct vb_capture *c, const struct rte_mbuf *m)
{
	return RTE_MIN(RTE_MIN(m->pkt_len, c->snaplen), KEPT_MAX);
}

static void capture_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct vb_capture *c = node->state;
	struct vb_backlog *b = &c->backlogs[RTE_MIN(ctx->worker, c->nb_backlogs - 1)];
	uint32_t direction = (edge & 1) == 0 ? VB_PCAPNG_INBOUND : VB_PCAPNG_OUTBOUND;

	if (c->wanted[edge & 1]) {
		vb_count(&b->seen, n);
		for (uint16_t i = 0; i < n; i++) {
			if (!vb_program_wants(&c->program, pkts[i]))
				continue;
			vb_count(&b->wanted, 1);
			if (!vb_backlog_put(b, pkts[i], kept_of(c, pkts[i]), direction))
				vb_count(&b->lost, 1);
		}
	}
	vb_push(ctx, node, VB_PARTNER(edge), pkts, n);
}

static const struct vb_brick_ops capture_ops = {
	.kind = "capture",
	.push = capture_push,
};

/* ---- its thread ---- */

/* It has ended, or has a reader who takes what is left. */
static void be_patient(struct vb_capture *c)
{
	c->give_up = vb_monotonic_ns() + PATIENCE_NS;
}

/* Wait until fd can be written to or, if it is not asked, until it is time to look. */
static void wait_for(struct vb_capture *c, bool writable, int ms)
{
	struct pollfd fds[] = {
		{.fd = c->fd, .events = writable ? POLLOUT : 0},
		/* Once it is to end there is nothing more to hear. */
		{.fd = c->give_up == 0 ? c->stop_fd : -1, .events = POLLIN},
	};

	poll(fds, RTE_DIM(fds), ms);
	if (!writable && (fds[0].revents & (POLLERR | POLLHUP)) != 0)
		c->broken = true;
	if ((fds[1].revents & POLLIN) != 0)
		be_patient(c);
}

/* Write what is in out; false: not now. */
static bool try_write(struct vb_capture *c, uint32_t *done)
{
	ssize_t n = write(c->fd, c->out + *done, c->nb_out - *done);

	if (n > 0) {
		*done += n;
		if (c->give_up != 0)
			be_patient(c);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		c->broken = true;
	}
	return n > 0;
}

static void flush(struct vb_capture *c)
{
	uint32_t done = 0;

	while (done < c->nb_out && !c->broken) {
		if (try_write(c, &done))
			continue;
		if (c->give_up != 0 && vb_monotonic_ns() > c->give_up)
			c->broken = true;
		else
			wait_for(c, true, RETRY_MS);
	}
	c->nb_out = 0;
}

static bool is_full(const struct vb_capture *c)
{
	return c->max_packets != 0 && c->totals.delivered >= c->max_packets;
}

static struct moment moment_now(void)
{
	uint64_t least = UINT64_MAX;
	struct moment best = {0};

	/* A thread that is interrupted between two clocks reads no moment; hardly four times. */
	for (int i = 0; i < 4; i++) {
		struct moment m;
		uint64_t took;

		m.tsc = rte_rdtsc();
		m.monotonic = vb_monotonic_ns();
		m.wall = vb_wall_ns();
		took = rte_rdtsc() - m.tsc;
		if (took < least) {
			least = took;
			best = m;
		}
	}
	return best;
}

/* When that was, by the clocks since the start: EAL knows the TSC's frequency roughly. */
static uint64_t time_of(struct vb_capture *c, uint64_t tsc, const struct moment *now)
{
	double part = (double)(now->tsc - tsc) / (now->tsc - c->started.tsc);
	uint64_t time = now->wall - (uint64_t)(part * (now->monotonic - c->started.monotonic));

	/* Noise of the clocks puts nothing out of its order; a clock that is set does. */
	if (time >= c->last || c->last - time > NOISE_NS)
		c->last = time;
	return c->last;
}

static void put_packet(struct vb_capture *c, const struct vb_record *r, const struct moment *now)
{
	const struct vb_pcapng_packet packet = {
		.time = time_of(c, r->tsc, now),
		.length = r->length,
		.kept = r->kept,
		.direction = r->kind,
		.data = r->data,
	};

	if (c->nb_out + r->kept + VB_PCAPNG_BLOCK > sizeof(c->out))
		flush(c);
	c->nb_out += vb_pcapng_packet(c->out + c->nb_out, &packet);
	c->totals.delivered++;
}

/* The backlog with the oldest packet, if that is older than tsc; NULL: there is none. */
static struct vb_backlog *oldest(struct vb_capture *c, uint64_t tsc)
{
	struct vb_backlog *found = NULL;

	for (uint32_t i = 0; i < c->nb_backlogs; i++) {
		const struct vb_record *r = vb_backlog_first(&c->backlogs[i]);

		if (r != NULL && r->tsc < tsc) {
			tsc = r->tsc;
			found = &c->backlogs[i];
		}
	}
	return found;
}

/* Write what is older than so much. */
static void drain(struct vb_capture *c, uint64_t ns)
{
	struct moment now = moment_now();
	uint64_t until = now.tsc - ns * rte_get_tsc_hz() / NS_PER_S;
	struct vb_backlog *b;

	while (!c->broken && !is_full(c) && (b = oldest(c, until)) != NULL) {
		const struct vb_record *r = vb_backlog_first(b);

		put_packet(c, r, &now);
		vb_backlog_pop(b, r);
	}
	flush(c);
}

static bool is_over(const struct vb_capture *c)
{
	uint64_t age = vb_monotonic_ns() - c->begun;

	return c->give_up != 0 || c->broken || is_full(c) || !vb_graph_is_probing(c->probe) ||
	       (c->max_ns != 0 && age >= c->max_ns);
}

static void take_out(struct vb_capture *c)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_unprobe(c->probe);
	pthread_mutex_unlock(&vb_lock);
}

static void put_totals(struct vb_capture *c)
{
	for (uint32_t i = 0; i < c->nb_backlogs; i++) {
		const struct vb_backlog *b = &c->backlogs[i];

		c->totals.seen += vb_count_read(&b->seen);
		c->totals.wanted += vb_count_read(&b->wanted);
		c->totals.lost += vb_count_read(&b->lost);
	}
	c->totals.ended = vb_wall_ns();
	c->nb_out += vb_pcapng_end(c->out + c->nb_out, &c->totals);
}

static void let_go(struct vb_capture *c)
{
	if (__atomic_sub_fetch(&c->holders, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (uint32_t i = 0; i < c->nb_backlogs; i++)
		vb_backlog_fini(&c->backlogs[i]);
	free(c->backlogs);
	vb_program_fini(&c->program);
	if (c->fd >= 0)
		close(c->fd);
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	if (c->probe != NULL)
		vb_brick_free(c->probe);
	free(c);
}

static void note_writing(int32_t more)
{
	pthread_mutex_lock(&writing.lock);
	writing.nb += more;
	pthread_cond_broadcast(&writing.changed);
	pthread_mutex_unlock(&writing.lock);
}

static void *capture_main(void *arg)
{
	struct vb_capture *c = arg;
	sigset_t signals;

	/* A reader who left is an error of write(). */
	sigfillset(&signals);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	c->nb_out = vb_pcapng_begin(c->out, c->name, c->snaplen == UINT32_MAX ? 0 : c->snaplen);
	flush(c);
	while (!is_over(c)) {
		wait_for(c, false, LOOK_MS);
		drain(c, SETTLE_NS);
	}
	take_out(c);
	if (c->give_up == 0)
		be_patient(c);
	drain(c, 0);
	put_totals(c);
	flush(c);
	/* Now, and not when the last one lets go: the reader waits for it.  A socket's end is
	 * for all who have it.
	 */
	shutdown(c->fd, SHUT_WR);
	close(c->fd);
	c->fd = -1;
	let_go(c);
	note_writing(-1);
	return NULL;
}

/* ---- control ---- */

static int backlogs_init(struct vb_capture *c, uint64_t buffer)
{
	uint32_t nb = vb_nb_workers + 1;

	c->backlogs = aligned_alloc(RTE_CACHE_LINE_SIZE, nb * sizeof(*c->backlogs));
	if (c->backlogs == NULL)
		return -ENOMEM;
	memset(c->backlogs, 0, nb * sizeof(*c->backlogs));
	c->nb_backlogs = nb;
	for (uint32_t i = 0; i < nb; i++) {
		/* Who holds vb_lock has but announcements to say. */
		int ret = vb_backlog_init(
			&c->backlogs[i], i < vb_nb_workers ? buffer / vb_nb_workers : 0);

		if (ret != 0)
			return ret;
	}
	return 0;
}

static int capture_init(
	struct vb_capture *c, struct vb_brick *brick, const struct vb_capture_config *config)
{
	int ret = vb_program_init(&c->program, &config->filter);

	if (ret == 0)
		ret = backlogs_init(c, config->buffer);
	if (ret != 0)
		return ret;
	c->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->stop_fd < 0)
		return -errno;
	c->probe = vb_brick_new(&capture_ops, brick->name, c);
	if (c->probe == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&vb_lock);
	ret = vb_graph_probe(c->probe, brick);
	pthread_mutex_unlock(&vb_lock);
	return ret;
}

int vb_capture_start(
	struct vb_brick *brick, const struct vb_capture_config *config, struct vb_capture **out)
{
	struct vb_capture *c;
	int ret;

	if (!config->from_peer && !config->to_peer)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->fd = c->stop_fd = -1;
	c->holders = 1;
	c->wanted[0] = config->from_peer;
	c->wanted[1] = config->to_peer;
	c->snaplen = config->snaplen != 0 ? config->snaplen : UINT32_MAX;
	c->max_packets = config->max_packets;
	c->max_ns = config->max_ns;
	c->started = moment_now();
	c->totals.started = c->started.wall;
	memcpy(c->name, brick->name, sizeof(c->name));
	ret = capture_init(c, brick, config);
	if (ret != 0)
		let_go(c);
	else
		*out = c;
	return ret;
}

int vb_capture_deliver(struct vb_capture *c, int fd)
{
	int flags = fcntl(fd, F_GETFL), ret;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	c->fd = fd;
	c->begun = vb_monotonic_ns();
	__atomic_add_fetch(&c->holders, 1, __ATOMIC_ACQ_REL);
	note_writing(1);
	ret = vb_thread_start(&c->thread, "vb-capture", capture_main, c);
	if (ret == 0)
		return -pthread_detach(c->thread);
	note_writing(-1);
	let_go(c);
	return ret;
}

void vb_capture_stop(struct vb_capture *c)
{
	eventfd_write(c->stop_fd, 1);
	take_out(c);
	let_go(c);
}

void vb_captures_finish(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec++;
	pthread_mutex_lock(&writing.lock);
	while (writing.nb > 0 &&
		pthread_cond_timedwait(&writing.changed, &writing.lock, &end) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&writing.lock);
}
