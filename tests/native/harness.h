/* SPDX-License-Identifier: Apache-2.0
 *
 * What native tests share: a started runtime, packets, and a brick that plays
 * the host's side.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "core/graph.h"

/* Workers sleep so soon that they do it between most packets of a test. */
#define HARNESS_IDLE_US 20

/* Start the runtime once, without hugepages, with nb_workers unpinned workers. */
void harness_start(uint32_t nb_workers);

/* The same, with a watchdog. */
void harness_start_watched(uint32_t nb_workers, uint32_t watchdog_ms);

/* A frame of len bytes with these addresses' last bytes (the rest is 02:00:...). */
struct rte_mbuf *harness_frame(uint8_t dst, uint8_t src, uint16_t len);

/* Packets out of the pool: 0 when nothing is leaked. */
unsigned int harness_in_use(void);

/* Wait until the value is as wanted; fail the test after ten seconds. */
#define harness_wait(condition)                                                                   \
	do {                                                                                      \
		uint64_t end_ = rte_get_timer_cycles() + 10 * rte_get_timer_hz();                 \
		while (!(condition)) {                                                            \
			assert_true(rte_get_timer_cycles() < end_);                               \
			sched_yield();                                                            \
		}                                                                                 \
	} while (0)

/* A brick with any number of edges that keeps what is pushed to it (up to 64
 * packets an edge) and makes no packets of its own.  Not for use with workers.
 */
struct sink {
	struct vb_brick *brick;
	struct rte_mbuf *got[64];
	uint16_t nb_got;
};

void sink_create(struct sink *sink, const char *name);

/* The same, but an uplink. */
void sink_create_uplink(struct sink *sink, const char *name);

/* Free the packets it has; return how many they were. */
uint16_t sink_empty(struct sink *sink);

/* Push n packets into brick over its edge, as worker 0 would. */
void push_into(struct vb_brick *brick, uint16_t edge, struct rte_mbuf **pkts, uint16_t n);

/* Push n packets out of brick over its edge, as its pull() would on worker 0. */
void push_from(struct vb_brick *brick, uint16_t edge, struct rte_mbuf **pkts, uint16_t n);

/* A brick that makes a packet a round for everybody, takes any, and ends the test if it is
 * pulled when it is no more: for use with workers.
 */
struct vb_brick *spring_create(const char *name);
uint64_t spring_taken(struct vb_brick *brick);

/* Two springs called "one" on a switch, each of which floods the other. */
struct springs {
	struct vb_brick *sw, *guests[2];
};

void springs_start(struct springs *springs, uint32_t nb_workers);

/* Nothing of them may be left. */
void springs_end(struct springs *springs);

/* Join under the lock; return the index on a's side. */
uint16_t join(struct vb_brick *a, struct vb_brick *b);
void part(struct vb_brick *a, uint16_t edge);

#endif
