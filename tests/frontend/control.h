/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_CONTROL_H
#define VUSER_CONTROL_H

#include <stdbool.h>

/* Commands, one a line, each answered by one line: see control.c for the list. */

/* Runs one command; returns false for "quit".  @line is taken apart. */
bool control_command(char *line);

/* Runs the commands on stdin until "quit" or its end. */
void control_run(void);

/* Deletes all ports. */
void control_cleanup(void);

#endif
