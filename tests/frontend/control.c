/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "command.h"
#include "control.h"
#include "output.h"
#include "poller.h"
#include "registry.h"
#include "report.h"

#define CLEANUP_S 15

/* ---- ports ---- */

static bool name_is_plain(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
			return false;
	return *name != '\0';
}

static int parse_port(const struct command *c, struct port_args *args)
{
	uint64_t server, queues, queue_size, retry;
	int ret = 0;

	memset(args, 0, sizeof(*args));
	ret |= copy_arg(c, "name", args->name, sizeof(args->name));
	ret |= copy_arg(c, "path", args->path, sizeof(args->path));
	ret |= copy_arg(c, "devargs", args->devargs, sizeof(args->devargs));
	ret |= number_arg(c, "server", 1, 0, &server);
	ret |= number_arg(c, "queues", MAX_QUEUES, 1, &queues);
	ret |= number_arg(c, "queue_size", 1024, 256, &queue_size);
	ret |= number_arg(c, "retry", 60000, 0, &retry);
	ret |= mac_arg(c, "mac", "52:54:00:00:00:01", &args->mac);
	if (ret != 0 || queues == 0 || !name_is_plain(args->name) || args->path[0] != '/')
		return -EINVAL;
	args->server = server;
	args->queues = queues;
	args->queue_size = queue_size;
	args->retry_ms = retry;
	/* Commas separate the driver's own arguments, spaces end ours. */
	for (char *p = args->devargs; *p; p++)
		if (*p == ';')
			*p = ',';
	return 0;
}

/* add name=N path=P [server=1] [queues=N] [queue_size=N] [mac=M] [retry=MS] [devargs=A=1;B=2] */
static int do_add(const struct command *c)
{
	struct port_args args;
	struct port *port;

	if (parse_port(c, &args) != 0)
		return answer_error(-EINVAL);
	if (registry_find(args.name) != NULL)
		return answer_error(-EEXIST);
	if (registry_count() == MAX_PORTS)
		return answer_error(-ENOSPC);
	port = port_new(&args);
	if (port == NULL)
		return answer_error(-ENOMEM);
	registry_add(port);
	return answer_ok();
}

/* del NAME */
static int do_del(const struct command *c)
{
	struct port *port = registry_find(c->port);

	if (port == NULL)
		return answer_error(-ENOENT);
	registry_remove(port);
	port_delete(port);
	return answer_ok();
}

static void print_link(FILE *out, struct port *port)
{
	enum port_state state;
	bool link;

	port_status(port, &state, &link);
	fprintf(out, "{\"name\":\"%s\",\"state\":\"%s\",\"link\":%s}", port->args.name,
		port_state_name(state), json_bool(link));
}

/* link [NAME] */
static int do_link(const struct command *c)
{
	const char *comma = "";
	FILE *out;

	if (c->port != NULL && registry_find(c->port) == NULL)
		return answer_error(-ENOENT);
	out = output_begin();
	fprintf(out, "{\"ok\":true,\"ports\":[");
	for (unsigned int i = 0; i < registry_count(); i++) {
		if (!registry_meant(registry_at(i), c->port))
			continue;
		fputs(comma, out);
		print_link(out, registry_at(i));
		comma = ",";
	}
	fprintf(out, "]}");
	output_end();
	return 0;
}

/* ---- traffic ---- */

struct start_call {
	struct port *port;
	struct stream_args args;
	int ret;
};

static void call_start(void *arg)
{
	struct start_call *call = arg;

	call->ret = stream_start(&call->port->stream, &call->args, rte_rdtsc());
}

static void call_stop(void *arg)
{
	stream_stop(&((struct port *)arg)->stream);
}

static int parse_queue(const struct command *c, const struct port *port, uint16_t *queue)
{
	uint64_t q;

	*queue = ALL_QUEUES;
	if (strcmp(text_arg(c, "queue", "*"), "*") == 0)
		return 0;
	if (number_arg(c, "queue", port->args.queues - 1, 0, &q) != 0)
		return -EINVAL;
	*queue = q;
	return 0;
}

static int parse_stream(const struct command *c, const struct port *port, struct stream_args *args)
{
	uint64_t size, flows, macs;
	int ret = 0;

	args->src = port->args.mac;
	if (text_arg(c, "src", NULL) != NULL)
		ret |= mac_arg(c, "src", NULL, &args->src);
	ret |= mac_arg(c, "dst", "ff:ff:ff:ff:ff:ff", &args->dst);
	ret |= number_arg(c, "size", FRAME_MAX, 64, &size);
	ret |= number_arg(c, "flows", MAX_FLOWS, 1, &flows);
	ret |= number_arg(c, "macs", MAX_FLOWS, 1, &macs);
	ret |= number_arg(c, "count", UINT64_MAX, 0, &args->count);
	ret |= number_arg(c, "rate", UINT32_MAX, 0, &args->rate);
	ret |= parse_queue(c, port, &args->queue);
	args->size = size;
	args->flows = flows;
	args->macs = macs;
	return ret ? -EINVAL : 0;
}

static int start_stream(const struct command *c, struct port *port)
{
	struct start_call call = {.port = port};

	if (parse_stream(c, port, &call.args) != 0)
		return -EINVAL;
	poller_call(call_start, &call);
	return call.ret;
}

/* start NAME [dst=M] [src=M] [size=N] [queue=N|*] [flows=K] [macs=K] [rate=PPS] [count=N] */
static int do_start(const struct command *c)
{
	struct port *port = registry_find(c->port);
	int ret = port != NULL ? start_stream(c, port) : -ENOENT;

	if (ret != 0)
		return answer_error(ret);
	output_line("{\"ok\":true,\"source\":%" PRIu32 "}", port->stream.source);
	return 0;
}

/* stop NAME */
static int do_stop(const struct command *c)
{
	struct port *port = registry_find(c->port);

	if (port == NULL)
		return answer_error(-ENOENT);
	poller_call(call_stop, port);
	return answer_ok();
}

struct done_call {
	struct port *port;
	bool done;
};

static void call_done(void *arg)
{
	struct done_call *call = arg;

	call->done = stream_done(&call->port->stream);
}

static bool wait_done(struct port *port, uint64_t timeout_ms)
{
	uint64_t end = rte_rdtsc() + timeout_ms * rte_get_tsc_hz() / 1000;
	struct done_call call = {.port = port};

	for (;;) {
		poller_call(call_done, &call);
		if (call.done || rte_rdtsc() > end)
			return call.done;
		usleep(500);
	}
}

/* send NAME count=N [timeout=MS] and what start takes; answers when all are handed over */
static int do_send(const struct command *c)
{
	struct port *port = registry_find(c->port);
	uint64_t timeout, count;
	int ret = port != NULL ? 0 : -ENOENT;

	if (ret == 0 && (number_arg(c, "timeout", 600000, 5000, &timeout) != 0 ||
				number_arg(c, "count", UINT64_MAX, 0, &count) != 0 || count == 0))
		ret = -EINVAL;
	if (ret == 0)
		ret = start_stream(c, port);
	if (ret == 0 && !wait_done(port, timeout))
		ret = -ETIMEDOUT;
	if (ret != 0)
		return answer_error(ret);
	output_line("{\"ok\":true,\"source\":%" PRIu32 "}", port->stream.source);
	return 0;
}

/* ---- the table ---- */

static const struct {
	const char *name;
	int (*run)(const struct command *c);
} commands[] = {
	{"add", do_add},
	{"del", do_del},
	{"link", do_link},
	{"start", do_start},
	{"stop", do_stop},
	{"send", do_send},
	{"stats", do_stats},
	{"reset", do_reset},
};

bool control_command(char *line)
{
	struct command c;

	command_parse(line, &c);
	if (c.name == NULL)
		return true;
	if (strcmp(c.name, "quit") == 0)
		return false;
	for (unsigned int i = 0; i < RTE_DIM(commands); i++)
		if (strcmp(c.name, commands[i].name) == 0) {
			commands[i].run(&c);
			return true;
		}
	answer_error(-ENOSYS);
	return true;
}

void control_run(void)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0)
		if (!control_command(line))
			break;
	free(line);
}

static bool all_closed(void)
{
	bool closed = true;

	for (unsigned int i = 0; i < registry_count(); i++)
		closed &= port_closed(registry_at(i));
	return closed;
}

void control_cleanup(void)
{
	/* A backend that hangs must not keep us: the signal ends the process. */
	alarm(CLEANUP_S);
	/* All at once: a port that waits holds up those that want to detach. */
	for (unsigned int i = 0; i < registry_count(); i++)
		port_close(registry_at(i));
	while (!all_closed())
		usleep(1000);
	while (registry_count() > 0) {
		struct port *port = registry_at(0);

		registry_remove(port);
		port_delete(port);
	}
	answer_ok();
}
