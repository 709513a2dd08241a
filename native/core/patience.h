/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits how long the calling thread waits in a system call that somebody else can make
 * last: while its patience is limited, a call that blocks ends with EINTR after
 * VB_PATIENCE_NS at most.  Begin and end nest; for a thread that has begun before they
 * cost nothing.
 */
#ifndef VB_PATIENCE_H
#define VB_PATIENCE_H

#define VB_PATIENCE_NS 2000000

void vb_patience_begin(void);
void vb_patience_end(void);

#endif
