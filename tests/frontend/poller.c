/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "poller.h"
#include "port.h"

struct call {
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static struct port *ports[MAX_PORTS];
static unsigned int nr_ports;
static struct poller_counters counters;
static _Atomic(struct call *) mailbox;
static atomic_bool stopping;
static pthread_mutex_t caller_lock = PTHREAD_MUTEX_INITIALIZER;

static void run_call(void)
{
	struct call *c = atomic_load_explicit(&mailbox, memory_order_acquire);

	if (c == NULL)
		return;
	c->fn(c->arg);
	atomic_store(&mailbox, NULL);
	sem_post(&c->done);
}

void poller_call(void (*fn)(void *arg), void *arg)
{
	struct call c = {.fn = fn, .arg = arg};

	sem_init(&c.done, 0, 0);
	pthread_mutex_lock(&caller_lock);
	atomic_store(&mailbox, &c);
	while (sem_wait(&c.done) != 0)
		; /* interrupted by a signal */
	pthread_mutex_unlock(&caller_lock);
	sem_destroy(&c.done);
}

void poller_run(unsigned int idle_us)
{
	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		unsigned int moved = 0;

		run_call();
		for (unsigned int i = 0; i < nr_ports; i++)
			moved += port_poll(ports[i], rte_rdtsc());
		counters.polls++;
		if (moved > 0)
			continue;
		counters.idle_polls++;
		if (idle_us > 0)
			usleep(idle_us);
	}
}

void poller_stop(void)
{
	atomic_store(&stopping, true);
}

void poller_add(struct port *port)
{
	ports[nr_ports++] = port;
}

void poller_remove(struct port *port)
{
	for (unsigned int i = 0; i < nr_ports; i++)
		if (ports[i] == port)
			ports[i] = ports[--nr_ports];
}

struct poller_counters *poller_counters(void)
{
	return &counters;
}
