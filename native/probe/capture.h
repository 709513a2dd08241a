/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime asks of captures; the rest is in vhost_brick.h.
 */
#ifndef VB_CAPTURE_H
#define VB_CAPTURE_H

/* All have ended or been stopped: have what they captured written, by readers who take it
 * within a second.
 */
void vb_captures_finish(void);

#endif
