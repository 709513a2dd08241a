/* SPDX-License-Identifier: Apache-2.0
 *
 * Poll workers: DPDK lcores that run the graph's snapshot and never block.
 */
#ifndef VB_WORKER_H
#define VB_WORKER_H

#include <stdint.h>

/* Start nb workers on DPDK's worker lcores, in order; cores are for the record. */
int vb_workers_start(uint32_t nb, const int32_t *cores);

/* End them and wait until they have. */
void vb_workers_stop(void);

#endif
