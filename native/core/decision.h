/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a brick that has a choice sends a packet that it does not drop: said by traces.  The
 * names are the same in CLI and docs, as those of drop reasons are.
 */
#ifndef VB_DECISION_H
#define VB_DECISION_H

#define VB_DECISION_LIST(X)                                                                       \
	X(NONE, "", "")                                                                           \
	X(KNOWN, "known", "to the one that is known to have the destination")                     \
	X(UNKNOWN, "unknown", "to all, since nobody is known to have the destination")            \
	X(GROUP, "group", "to all, since the destination is a group address or broadcast")

enum vb_decision {
#define X(id, name, meaning) VB_DECISION_##id,
	VB_DECISION_LIST(X)
#undef X
		VB_DECISIONS
};

#endif
