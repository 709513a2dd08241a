/* SPDX-License-Identifier: Apache-2.0
 *
 * Interrupting a guest through its frontend's eventfd.
 */
#ifndef VHOST_CALL_H
#define VHOST_CALL_H

#include <stdbool.h>

bool vhost_call_is_eventfd(int fd);

/* Interrupt; any thread.  False: the eventfd made us wait, which no honest one does. */
bool vhost_call(int fd);

#endif
