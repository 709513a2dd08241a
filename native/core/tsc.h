/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes rte_eal_init() faster; see tsc.c.
 */
#ifndef VB_TSC_H
#define VB_TSC_H

/* Around rte_eal_init(), by the thread that calls it. */
void vb_tsc_watch(void);
void vb_tsc_unwatch(void);

#endif
