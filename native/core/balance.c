/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see balance.h.
 */
#include "core/balance.h"

#include <pthread.h>

#include "core/runtime.h"
#include "vhost_brick.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t loads[VB_WORKERS_MAX];

/* Lock held. */
static uint32_t lightest(void)
{
	uint32_t found = 0;

	for (uint32_t i = 1; i < vb_nb_workers; i++)
		if (loads[i] < loads[found])
			found = i;
	return found;
}

uint32_t vb_balance_take(void)
{
	uint32_t worker;

	pthread_mutex_lock(&lock);
	worker = lightest();
	loads[worker]++;
	pthread_mutex_unlock(&lock);
	return worker;
}

void vb_balance_add(uint32_t worker)
{
	pthread_mutex_lock(&lock);
	loads[worker]++;
	pthread_mutex_unlock(&lock);
}

void vb_balance_give(uint32_t worker)
{
	pthread_mutex_lock(&lock);
	loads[worker]--;
	pthread_mutex_unlock(&lock);
}

bool vb_balance_heavy(uint32_t worker)
{
	bool heavy;

	pthread_mutex_lock(&lock);
	heavy = loads[worker] > loads[lightest()] + 1;
	pthread_mutex_unlock(&lock);
	return heavy;
}

bool vb_balance_uneven(void)
{
	for (uint32_t i = 0; i < vb_nb_workers; i++)
		if (vb_balance_heavy(i))
			return true;
	return false;
}
