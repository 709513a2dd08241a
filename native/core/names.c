/* SPDX-License-Identifier: Apache-2.0
 *
 * The words for drop reasons, decisions and faults.
 */
#include <stddef.h>

#include "core/decision.h"
#include "core/drop.h"
#include "core/fault.h"
#include "vhost_brick.h"

_Static_assert(VB_DROPS <= VB_DROPS_MAX, "raise VB_DROPS_MAX");

struct words {
	const char *name;
	const char *meaning;
	const char *hint;
};

static const struct words drops[] = {
#define X(id, name, meaning) {name, meaning, NULL},
	VB_DROP_LIST(X)
#undef X
};

static const struct words faults[] = {
#define X(id, name, meaning, hint) {name, meaning, hint},
	VB_FAULT_LIST(X)
#undef X
};

static const struct words decisions[] = {
#define X(id, name, meaning) {name, meaning, NULL},
	VB_DECISION_LIST(X)
#undef X
};

const char *vb_drop_name(uint32_t reason)
{
	return reason < VB_DROPS ? drops[reason].name : NULL;
}

const char *vb_drop_meaning(uint32_t reason)
{
	return reason < VB_DROPS ? drops[reason].meaning : NULL;
}

const char *vb_decision_name(uint32_t decision)
{
	return decision < VB_DECISIONS ? decisions[decision].name : NULL;
}

const char *vb_decision_meaning(uint32_t decision)
{
	return decision < VB_DECISIONS ? decisions[decision].meaning : NULL;
}

const char *vb_fault_name(uint32_t fault)
{
	return fault < VB_FAULTS ? faults[fault].name : NULL;
}

const char *vb_fault_meaning(uint32_t fault)
{
	return fault < VB_FAULTS ? faults[fault].meaning : NULL;
}

const char *vb_fault_hint(uint32_t fault)
{
	return fault < VB_FAULTS ? faults[fault].hint : NULL;
}
