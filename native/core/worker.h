/* SPDX-License-Identifier: Apache-2.0
 *
 * Poll workers: DPDK lcores that run the graph's snapshot, and block only while there is
 * nothing to do.
 */
#ifndef VB_WORKER_H
#define VB_WORKER_H

#include <stdint.h>

/* Start nb workers on DPDK's worker lcores, in order; cores are for the record.  Without a
 * packet for idle_us they sleep; 0: never.
 */
int vb_workers_start(uint32_t nb, const int32_t *cores, uint32_t idle_us);

/* End them and wait until they have. */
void vb_workers_stop(void);

#endif
