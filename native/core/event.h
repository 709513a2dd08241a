/* SPDX-License-Identifier: Apache-2.0
 *
 * Events on their way to the daemon: a bounded queue and an eventfd.
 *
 * C never calls Python.  Who raises an event (the vhost thread, say)
 * is never a poll worker, so a mutex serves; it is a leaf, held for a copy.
 * When the daemon does not keep up the oldest events go, and it is told so.
 */
#ifndef VB_EVENT_H
#define VB_EVENT_H

#include "core/fault.h"
#include "vhost_brick.h"

/* Create the eventfd; -errno. */
int vb_event_init(void);

/* Queue a copy of event; its time is filled in. */
void vb_event_raise(struct vb_event *event);

#endif
