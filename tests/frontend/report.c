/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <rte_cycles.h>

#include "output.h"
#include "poller.h"
#include "registry.h"
#include "report.h"

struct port_report {
	char name[32];
	uint64_t tx;
	uint64_t tx_full;
	bool sending;
	struct check_counters rx;
};

struct report {
	const char *only; /* the one port asked for, or NULL */
	uint64_t tsc;
	struct poller_counters poller;
	unsigned int n;
	struct port_report port[MAX_PORTS];
};

static void call_report(void *arg)
{
	struct report *r = arg;

	r->tsc = rte_rdtsc();
	r->poller = *poller_counters();
	for (unsigned int i = 0; i < registry_count(); i++) {
		const struct port *port = registry_at(i);
		struct port_report *p = &r->port[r->n];

		if (!registry_meant(port, r->only))
			continue;
		snprintf(p->name, sizeof(p->name), "%s", port->args.name);
		p->tx = port->stream.tx;
		p->tx_full = port->stream.tx_full;
		p->sending = port->stream.active && !stream_done(&port->stream);
		p->rx = port->checker.counters;
		r->n++;
	}
}

static double cycles_to_us(uint64_t cycles)
{
	return cycles * 1e6 / rte_get_tsc_hz();
}

static void print_sources(FILE *out, const struct check_counters *k)
{
	char mac[RTE_ETHER_ADDR_FMT_SIZE];

	for (unsigned int i = 0; i < k->sources; i++) {
		const struct source_counters *s = &k->source[i];

		rte_ether_format_addr(mac, sizeof(mac), &s->mac);
		fprintf(out,
			"%s{\"id\":%" PRIu32 ",\"mac\":\"%s\",\"rx\":%" PRIu64 ",\"lost\":%" PRIu64
			",\"reordered\":%" PRIu64 ",\"duplicate\":%" PRIu64 "}",
			i ? "," : "", s->id, mac, s->rx, s->lost, s->reordered, s->duplicate);
	}
}

static void print_report(FILE *out, const struct port_report *p, uint64_t tsc)
{
	const struct check_counters *k = &p->rx;
	uint64_t quiet = k->last_tsc != 0 ? tsc - k->last_tsc : 0;

	fprintf(out,
		"{\"name\":\"%s\",\"tx\":%" PRIu64 ",\"tx_full\":%" PRIu64
		",\"sending\":%s,\"rx\":%" PRIu64 ",\"rx_bytes\":%" PRIu64 ",\"rx_bad\":%" PRIu64
		",\"rx_other\":%" PRIu64,
		p->name, p->tx, p->tx_full, json_bool(p->sending), k->rx, k->rx_bytes, k->rx_bad,
		k->rx_other);
	fprintf(out,
		",\"silence_us\":%.1f,\"quiet_us\":%.1f,\"latency_median_us\":%.2f"
		",\"latency_p99_us\":%.2f,\"sources\":[",
		cycles_to_us(k->silence), cycles_to_us(quiet), check_latency_us(k, 0.5),
		check_latency_us(k, 0.99));
	print_sources(out, k);
	fprintf(out, "]}");
}

/* stats [NAME] */
int do_stats(const struct command *c)
{
	/* Too big for a stack; this thread is the only one to ask. */
	static struct report r;
	FILE *out;

	if (c->port != NULL && registry_find(c->port) == NULL)
		return answer_error(-ENOENT);
	r.only = c->port;
	r.n = 0;
	poller_call(call_report, &r);
	out = output_begin();
	fprintf(out,
		"{\"ok\":true,\"time_us\":%.1f,\"polls\":%" PRIu64 ",\"idle_polls\":%" PRIu64
		",\"ports\":[",
		cycles_to_us(r.tsc), r.poller.polls, r.poller.idle_polls);
	for (unsigned int i = 0; i < r.n; i++) {
		fputs(i ? "," : "", out);
		print_report(out, &r.port[i], r.tsc);
	}
	fprintf(out, "]}");
	output_end();
	return 0;
}

static void call_reset(void *arg)
{
	const char *only = arg;

	for (unsigned int i = 0; i < registry_count(); i++) {
		struct port *port = registry_at(i);

		if (!registry_meant(port, only))
			continue;
		check_reset(&port->checker);
		port->stream.tx = 0;
		port->stream.tx_full = 0;
	}
	*poller_counters() = (struct poller_counters){0};
}

/* reset [NAME] */
int do_reset(const struct command *c)
{
	if (c->port != NULL && registry_find(c->port) == NULL)
		return answer_error(-ENOENT);
	poller_call(call_reset, (void *)(uintptr_t)c->port);
	return answer_ok();
}
