/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_OUTPUT_H
#define VUSER_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

/*
 * One JSON object a line on stdout.  Answers have "ok"; what happens by itself
 * has "event".  A line is written whole, whichever thread it comes from.
 */

/* Locks stdout for one line and returns it; output_end() ends the line. */
FILE *output_begin(void);
void output_end(void);

void output_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The plain answers; they return 0 and @err, for the caller to return. */
int answer_ok(void);
int answer_error(int err);

const char *json_bool(bool b);

#endif
