/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <string.h>

#include "output.h"

FILE *output_begin(void)
{
	flockfile(stdout);
	return stdout;
}

void output_end(void)
{
	putc('\n', stdout);
	fflush(stdout);
	funlockfile(stdout);
}

void output_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(output_begin(), fmt, ap);
	va_end(ap);
	output_end();
}

int answer_error(int err)
{
	output_line("{\"ok\":false,\"error\":\"%s\"}", strerror(-err));
	return err;
}

int answer_ok(void)
{
	output_line("{\"ok\":true}");
	return 0;
}

const char *json_bool(bool b)
{
	return b ? "true" : "false";
}
