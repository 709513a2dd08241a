/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a guest may send a frame.
 */
#ifndef VB_ANTISPOOF_PACKET_H
#define VB_ANTISPOOF_PACKET_H

#include <rte_mbuf.h>

#include "bricks/antispoof_rules.h"
#include "core/drop.h"

#define ANTISPOOF_PASS VB_DROPS

/* Return ANTISPOOF_PASS, or why the frame must be dropped.  It may be of any length, in
 * any number of segments.
 */
enum vb_drop antispoof_check(const struct antispoof_rules *rules, const struct rte_mbuf *m);

#endif
