/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

const char *text_arg(const struct command *c, const char *key, const char *fallback)
{
	size_t len = strlen(key);

	for (unsigned int i = 0; i < c->n; i++)
		if (strncmp(c->pair[i], key, len) == 0 && c->pair[i][len] == '=')
			return c->pair[i] + len + 1;
	return fallback;
}

int number_arg(
	const struct command *c, const char *key, uint64_t max, uint64_t fallback, uint64_t *value)
{
	const char *text = text_arg(c, key, NULL);
	char *end;

	*value = fallback;
	if (text == NULL)
		return 0;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno || !isdigit((unsigned char)*text) || *end || *value > max ? -EINVAL : 0;
}

int mac_arg(
	const struct command *c, const char *key, const char *fallback, struct rte_ether_addr *mac)
{
	return rte_ether_unformat_addr(text_arg(c, key, fallback), mac) == 0 ? 0 : -EINVAL;
}

int copy_arg(const struct command *c, const char *key, char *to, size_t size)
{
	const char *text = text_arg(c, key, "");

	return snprintf(to, size, "%s", text) < (int)size ? 0 : -ENAMETOOLONG;
}

void command_parse(char *line, struct command *c)
{
	char *save = NULL;

	memset(c, 0, sizeof(*c));
	c->name = strtok_r(line, " \t\n", &save);
	for (char *w; (w = strtok_r(NULL, " \t\n", &save)) != NULL;) {
		if (strchr(w, '=') == NULL)
			c->port = w;
		else if (c->n < MAX_PAIRS)
			c->pair[c->n++] = w;
	}
}
