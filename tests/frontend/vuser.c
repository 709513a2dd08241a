/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user frontend for tests and benchmarks: DPDK's virtio-user driver,
 * traffic that checks itself, and commands on stdin.
 *
 *   vuser [EAL options] -- [--idle-us N] [--port name=p0,path=/x/sock,server=1]...
 *
 * Three kinds of threads: the main one polls, one reads commands, and each
 * port has one that attaches and detaches it, which may block.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_lcore.h>

#include "control.h"
#include "output.h"
#include "poller.h"

#define MAX_START_PORTS 64

struct options {
	unsigned int idle_us;
	unsigned int nr_ports;
	char *port[MAX_START_PORTS];
};

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{"idle-us", required_argument, NULL, 'i'},
		{"port", required_argument, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	optind = 1;
	while ((opt = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (opt == 'i') {
			o->idle_us = atoi(optarg);
		} else if (opt == 'p' && o->nr_ports < MAX_START_PORTS) {
			o->port[o->nr_ports++] = optarg;
		} else {
			fprintf(stderr, "usage: vuser [EAL options] -- [--idle-us N] "
					"[--port key=value,...]...\n");
			exit(2);
		}
	}
}

/* "name=p0,path=/x" is the command "add name=p0 path=/x" */
static void add_start_port(const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "add %s", text);
	for (char *p = line; *p; p++)
		if (*p == ',')
			*p = ' ';
	control_command(line);
}

static void *control_main(void *arg)
{
	const struct options *o = arg;

	for (unsigned int i = 0; i < o->nr_ports; i++)
		add_start_port(o->port[i]);
	control_run();
	control_cleanup();
	poller_stop();
	return NULL;
}

int main(int argc, char **argv)
{
	struct options options = {0};
	pthread_t control;
	int used;

	/* A backend that dies while the driver writes to it must not end us. */
	signal(SIGPIPE, SIG_IGN);
	used = rte_eal_init(argc, argv);
	if (used < 0)
		return 1;
	parse_options(argc - used, argv + used, &options);
	if (rte_ctrl_thread_create(&control, "control", NULL, control_main, &options) != 0)
		return 1;
	output_line("{\"event\":\"ready\",\"pid\":%d}", getpid());
	poller_run(options.idle_us);
	pthread_join(control, NULL);
	return rte_eal_cleanup() == 0 ? 0 : 1;
}
