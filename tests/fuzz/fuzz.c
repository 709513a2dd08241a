/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <rte_mempool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/loan.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "vhost_brick.h"

void fuzz_start(void)
{
	static const char *const args[] = {"--no-huge", "--no-shconf", "-m", "64", "--no-pci",
		"--no-telemetry", "--iova-mode=va", "--log-level=*:error"};
	struct vb_options options = {
		.eal_args = args,
		.nb_eal_args = sizeof(args) / sizeof(args[0]),
		.nb_workers = 1,
		.worker_cores = {-1},
		.nb_mbufs = 2048,
		.standby = true, /* without workers: the fuzzer is one */
	};

	if (vb_start(&options) != 0)
		abort();
}

void fuzz_check_buffers(void)
{
	unsigned int in_use =
		rte_mempool_in_use_count(vb_pool) + rte_mempool_in_use_count(vb_loans);

	if (in_use != 0) {
		fprintf(stderr, "%u packet buffers were leaked\n", in_use);
		abort();
	}
}
