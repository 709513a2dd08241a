/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that a frontend handed over, and which may be anything.
 */
#ifndef VHOST_FOREIGN_H
#define VHOST_FOREIGN_H

/* Close one without waiting.  The last close() of a socket waits until its data is read, as
 * long as its owner has set, and who gets it in a message has the last one.
 */
void vhost_foreign_close(int fd);

#endif
