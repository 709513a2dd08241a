/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_COMMAND_H
#define VUSER_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include <rte_ether.h>

/* A command line taken apart: words, then key=value pairs in any order. */

#define MAX_PAIRS 32

struct command {
	const char *name; /* NULL: an empty line */
	const char *port; /* the last word without '=', or NULL */
	unsigned int n;
	const char *pair[MAX_PAIRS];
};

/* @line is taken apart and must outlive @c. */
void command_parse(char *line, struct command *c);

/* Returns the value of @key, or @fallback. */
const char *text_arg(const struct command *c, const char *key, const char *fallback);

/* These put the value, or the fallback, where they are told; 0 or -errno. */
int number_arg(const struct command *c, const char *key, uint64_t max, uint64_t fallback,
	uint64_t *value);
int mac_arg(const struct command *c, const char *key, const char *fallback,
	struct rte_ether_addr *mac);
int copy_arg(const struct command *c, const char *key, char *to, size_t size);

#endif
