/* SPDX-License-Identifier: Apache-2.0
 *
 * Outliving the loss of shared memory.
 *
 * Who shares a file may make it smaller, or let it run out of pages, while we use it:
 * a touch is then SIGBUS, and one frontend would have ended the service of all.  The
 * handler here puts empty private pages in the place of the whole mapping, marks it as
 * lost, and lets the touch happen again; the control side finds the mark and ends the
 * session.
 */
#ifndef VHOST_GUARD_H
#define VHOST_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Catch SIGBUS; other ones than ours go to who caught it before. */
void vhost_guard_start(void);

/* Guard a mapping, whole pages; its number, or -ENOSPC. */
int vhost_guard_add(void *start, size_t len);

/* Before it is unmapped. */
void vhost_guard_remove(int number);

bool vhost_guard_lost(int number);

#endif
