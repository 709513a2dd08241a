/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VUSER_POLLER_H
#define VUSER_POLLER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The polling thread.  It alone touches rings, streams and checkers, so that
 * none of them needs a lock; others hand it a function to run between polls.
 */

struct port;

struct poller_counters {
	uint64_t polls;
	uint64_t idle_polls; /* rounds that moved no packet */
};

/* Polls until poller_stop(); sleeps @idle_us after a round without a packet. */
void poller_run(unsigned int idle_us);
void poller_stop(void);

/* Runs @fn between two polls and returns when it has run.  Any other thread. */
void poller_call(void (*fn)(void *arg), void *arg);

/* For functions that run by poller_call(). */
void poller_add(struct port *port);
void poller_remove(struct port *port);
struct poller_counters *poller_counters(void);

#endif
