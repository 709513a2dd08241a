/* SPDX-License-Identifier: Apache-2.0
 *
 * What a brick that has a choice does with a packet that it does not drop: said by traces.
 * Names are the same in CLI and docs, as those of drop reasons are.
 */
#ifndef VB_DECISION_H
#define VB_DECISION_H

#define VB_DECISION_LIST(X)                                                                       \
	X(NONE, "", "the brick has no choice")                                                    \
	X(KNOWN, "known", "the switch knows behind which port the destination is")                \
	X(UNKNOWN, "unknown", "no port is known to have the destination: it is sent to all")      \
	X(GROUP, "group", "the destination is a group, as of a broadcast: it is sent to all")

enum vb_decision {
#define X(id, name, meaning) VB_DECISION_##id,
	VB_DECISION_LIST(X)
#undef X
		VB_DECISIONS
};

#endif
