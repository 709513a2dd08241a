/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_REPORT_H
#define VUSER_REPORT_H

#include "command.h"

/* The commands that show and clear counters. */

int do_stats(const struct command *c);
int do_reset(const struct command *c);

#endif
