/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see filter.h.
 */
#include "probe/filter.h"

#include <errno.h>
#include <stdlib.h>

int vb_program_init(struct vb_program *program, const struct vb_filter *filter)
{
	struct bpf_insn *insns;

	program->insns = NULL;
	if (filter->nb_insns == 0)
		return 0;
	if (filter->nb_insns > VB_FILTER_MAX)
		return -EINVAL;
	insns = calloc(filter->nb_insns, sizeof(*insns));
	if (insns == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < filter->nb_insns; i++) {
		const struct vb_filter_insn *from = &filter->insns[i];

		insns[i] = (struct bpf_insn){from->code, from->jt, from->jf, from->k};
	}
	if (bpf_validate(insns, filter->nb_insns) == 0) {
		free(insns);
		return -EINVAL;
	}
	program->insns = insns;
	return 0;
}

void vb_program_fini(struct vb_program *program)
{
	free(program->insns);
}
