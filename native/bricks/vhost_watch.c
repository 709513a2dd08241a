/* SPDX-License-Identifier: Apache-2.0
 *
 * What is looked at ten times a second:
 *
 * - a message that stays unfinished ends its session,
 * - guest memory whose file has shrunk, too,
 * - rings that hold one thing after another that has to be refused, or whose eventfd
 *   blocks: workers spend time on them, so they are kept away for a while, the
 *   longer the more often it happens, and the port is in the fault
 *   "guest_misbehaves" until it has been good for some time,
 * - queues that were enabled or disabled are told of, and rings that were started too
 *   often are served again,
 * - where one worker has more to poll than another one, queue pairs change hands,
 * - a standby is given a sign of life.
 *
 * Workers only count; so none of this costs them anything.
 */
#include "bricks/vhost.h"
#include "core/balance.h"
#include "core/clock.h"

#define MS 1000000ULL
#define LOOK_EVERY (100 * MS)
#define MESSAGE_MAX (2000 * MS)

#define MUTE_FIRST (200 * MS)
#define MUTE_MOST (5000 * MS)
#define GOOD_AFTER (1000 * MS)

static struct vhost_timer look;

static void mute(struct vhost_session *s, uint64_t now)
{
	struct vhost_conduct *c = &s->conduct;
	uint64_t pause = c->offences < 8 ? MUTE_FIRST << c->offences : MUTE_MOST;

	c->offences++;
	c->mute_until = now + RTE_MIN(pause, MUTE_MOST);
	vhost_device_mute(&s->device, true);
	vhost_fault(s->port, VB_FAULT_GUEST_MISBEHAVES);
}

static void forgive(struct vhost_session *s)
{
	s->conduct.offences = 0;
	if (__atomic_load_n(&s->port->fault, __ATOMIC_RELAXED) == VB_FAULT_GUEST_MISBEHAVES)
		vhost_fault(s->port, VB_FAULT_NONE);
}

static void check_conduct(struct vhost_session *s, uint64_t now)
{
	struct vhost_conduct *c = &s->conduct;
	uint64_t refused = vhost_device_refused(&s->device), fresh = refused - c->refused;

	c->refused = refused;
	if (c->mute_until != 0) {
		if (now < c->mute_until)
			return;
		c->mute_until = 0;
		c->good_since = now;
		vhost_device_mute(&s->device, false);
		return;
	}
	if (fresh > 0)
		c->good_since = now;
	if (fresh >= VHOST_OFFENCE)
		mute(s, now);
	else if (c->offences > 0 && now - c->good_since >= GOOD_AFTER)
		forgive(s);
}

/* A frontend may enable and disable queues as fast as it can send. */
static void tell_queues(struct vhost_session *s)
{
	if (!s->running || s->device.muted || s->device.enabled == s->told)
		return;
	s->told = s->device.enabled;
	vhost_event(s->port, s, VB_EVENT_QUEUES_CHANGED);
}

/* The session may be no more afterwards. */
static void check(struct vhost_session *s, uint64_t now)
{
	enum vb_fault fault = VB_FAULT_NONE;

	if (s->channel.since != 0 && now - s->channel.since > MESSAGE_MAX)
		fault = VB_FAULT_FRONTEND_STALLS;
	else if (vhost_device_lost_memory(&s->device))
		fault = VB_FAULT_MEMORY_SHRUNK;
	if (fault != VB_FAULT_NONE) {
		vhost_session_close(s, fault);
		return;
	}
	vhost_memory_check_clock(s, now);
	check_conduct(s, now);
	vhost_session_follow_rings(s);
	tell_queues(s);
}

static void rebalance(void)
{
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next)
		for (struct vhost_session *s = p->sessions; s != NULL; s = s->next) {
			if (!vb_balance_uneven())
				return;
			vhost_device_rebalance(&s->device);
		}
}

static void look_around(struct vhost_timer *self)
{
	uint64_t now = vb_monotonic_ns();

	vhost_lead_heartbeat(now);
	for (struct vhost_port *p = vhost_ports(); p != NULL; p = p->next) {
		struct vhost_session *s = p->sessions, *next;

		for (; s != NULL; s = next) {
			next = s->next;
			check(s, now);
		}
	}
	rebalance();
	vhost_timer_set(self, now + LOOK_EVERY);
}

void vhost_watch_start(void)
{
	if (look.expired != NULL)
		return;
	look.expired = look_around;
	vhost_timer_set(&look, vb_monotonic_ns() + LOOK_EVERY);
}
