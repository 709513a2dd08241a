/* SPDX-License-Identifier: Apache-2.0
 *
 * Which packets a probe wants: a classic BPF program, run by libpcap's interpreter.
 *
 * libpcap checks a program once: it jumps only forward and stays within its 512
 * instructions and the packet, so a worker runs it safely, whoever wrote it.
 */
#ifndef VB_FILTER_H
#define VB_FILTER_H

#include <rte_mbuf.h>
#include <stdbool.h>
#include <sys/types.h>
/* It wants the one above first. */
#include <pcap/bpf.h>

#include "vhost_brick.h"

struct vb_program {
	struct bpf_insn *insns; /* NULL: everything is wanted */
};

/* Take over a copy of the filter.  -EINVAL: it is no valid program.  -ENOMEM. */
int vb_program_init(struct vb_program *program, const struct vb_filter *filter);

void vb_program_fini(struct vb_program *program);

/* It looks at the first segment: what follows may be lent (loan.h), and is not judged. */
static inline bool vb_program_wants(const struct vb_program *program, const struct rte_mbuf *m)
{
	return program->insns == NULL ||
	       bpf_filter(program->insns, rte_pktmbuf_mtod(m, const u_char *), m->pkt_len,
		       m->data_len) != 0;
}

#endif
