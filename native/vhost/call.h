/* SPDX-License-Identifier: Apache-2.0
 *
 * Interrupting a guest through an eventfd that its frontend gave us, without ever
 * waiting for it.
 *
 * A write() to an eventfd waits when its counter is at its greatest value, unless the
 * file is non-blocking; and both are in the frontend's hands at any time, since it has
 * the same open file.  A frontend could stop a worker, and with it everybody's packets.
 * The kernel itself signals eventfds without waiting, for one when asynchronous I/O
 * completes (io_submit(2), IOCB_FLAG_RESFD): so that is what is done, with I/O of no
 * bytes, which completes at once.
 */
#ifndef VHOST_CALL_H
#define VHOST_CALL_H

#include <stdbool.h>

/* Whether fd is an eventfd at all. */
bool vhost_call_is_eventfd(int fd);

/* Add one to the eventfd.  Any thread. */
void vhost_call(int fd);

#endif
