/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose a queue pair is: it is given to a worker when it is first enabled, and stays that
 * one's until workers no longer serve the device or another one has less to do
 * (core/balance.h).  Between two workers it is nobody's, until the first has passed, so a
 * ring needs no lock.
 */
#include "core/balance.h"
#include "core/graph.h"
#include "core/sleep.h"
#include "vhost/device_parts.h"

void vhost_share_heed_kicks(struct vhost_device *dev, uint32_t pair)
{
	uint32_t i = VHOST_RING_FROM_GUEST(pair);
	int kick = dev->setups[i].kick;
	bool heeded = dev->worker[pair] != VHOST_NO_WORKER && kick >= 0 &&
		      vb_sleep_watch(dev->worker[pair], kick) == 0;

	__atomic_store_n(&dev->rings[i].kicks, heeded, __ATOMIC_RELEASE);
}

void vhost_share_ignore_kicks(struct vhost_device *dev, uint32_t pair)
{
	uint32_t i = VHOST_RING_FROM_GUEST(pair);

	if (!dev->rings[i].kicks)
		return;
	__atomic_store_n(&dev->rings[i].kicks, false, __ATOMIC_RELEASE);
	vb_sleep_unwatch(dev->worker[pair], dev->setups[i].kick);
}

/* The pair, which is nobody's, is a worker's that has counted it already. */
static void give_to(struct vhost_device *dev, uint32_t pair, uint32_t worker)
{
	struct vhost_hand *hand = &dev->hands[worker];

	dev->worker[pair] = worker;
	vhost_share_heed_kicks(dev, pair);
	__atomic_store_n(&hand->own, hand->own | BIT(pair), __ATOMIC_RELEASE);
}

/* It is nobody's any more; the worker may still be at it. */
static void take_away(struct vhost_device *dev, uint32_t pair)
{
	struct vhost_hand *hand = &dev->hands[dev->worker[pair]];

	__atomic_store_n(&hand->own, hand->own & ~BIT(pair), __ATOMIC_RELAXED);
	vhost_share_ignore_kicks(dev, pair);
	dev->worker[pair] = VHOST_NO_WORKER;
}

void vhost_share_out(struct vhost_device *dev)
{
	uint64_t wanted = dev->served ? dev->enabled : 0, changed = wanted ^ dev->counted;

	for (; changed != 0; changed &= changed - 1) {
		uint32_t pair = __builtin_ctzll(changed);

		if ((wanted & BIT(pair)) == 0)
			vb_balance_give(dev->worker[pair]);
		else if (dev->worker[pair] == VHOST_NO_WORKER)
			give_to(dev, pair, vb_balance_take());
		else
			vb_balance_add(dev->worker[pair]);
	}
	dev->counted = wanted;
}

void vhost_device_serve(struct vhost_device *dev, bool serve)
{
	dev->served = serve;
	vhost_share_out(dev);
	for (uint32_t pair = 0; !serve && pair < VB_QUEUES_MAX; pair++)
		if (dev->worker[pair] != VHOST_NO_WORKER)
			take_away(dev, pair);
}

/* A worker that sleeps looks again at what is its own when it wakes, and who is awake has
 * passed: so between the two workers nobody has the ring.
 */
static void move(struct vhost_device *dev, uint32_t pair)
{
	const struct vhost_ring *ring = &dev->rings[VHOST_RING_FROM_GUEST(pair)];

	vb_balance_give(dev->worker[pair]);
	take_away(dev, pair);
	vb_graph_wait();
	if (ring->vring != NULL)
		vhost_ring_hush(ring, ring->vring);
	give_to(dev, pair, vb_balance_take());
	vb_sleep_wake_all();
}

void vhost_device_rebalance(struct vhost_device *dev)
{
	for (uint64_t pairs = dev->counted; pairs != 0; pairs &= pairs - 1) {
		uint32_t pair = __builtin_ctzll(pairs);

		if (!vb_balance_heavy(dev->worker[pair]))
			continue;
		move(dev, pair);
		return;
	}
}
