/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether another process still does anything.
 *
 * Each thread that touches guests holds a robust mutex in memory that the other process
 * maps.  The kernel lets go of it when the thread will never run again, and before it
 * takes the process apart: to unmap some hundred MiB lasts tens of milliseconds, and a
 * lock on a file (flock(2)) comes only after that (do_exit() of Linux: exit_mm(), which
 * begins with the robust list, then exit_files()).
 */
#ifndef VB_ALIVE_H
#define VB_ALIVE_H

/* Make the memory.  -errno. */
int vb_alive_init(void);

/* Its descriptor, for the other process; ours. */
int vb_alive_fd(void);

/* The calling thread touches guests until it ends. */
void vb_alive_hold(void);

/* The other process: have a thread of its own write to eventfd once all threads that
 * hold something in the memory behind fd (ours to keep) have ended.  Nothing is ever
 * written if that cannot be told.  -errno.
 */
int vb_alive_await(int fd, int eventfd);

#endif
