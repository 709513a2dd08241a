/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the device share, beside device.h:
 *
 *   device.c  messages: what the frontend wants
 *   apply.c   bringing what runs in line with that
 *   share.c   whose a queue pair is
 *   replay.c  the messages again, for a standby
 */
#ifndef VHOST_DEVICE_PARTS_H
#define VHOST_DEVICE_PARTS_H

#include "vhost/device.h"

#define BIT(n) (1ULL << (n))

static inline bool vhost_device_has(const struct vhost_device *dev, uint32_t feature)
{
	return (dev->features & BIT(feature)) != 0;
}

/* ---- apply.c ---- */

/* How ring i runs, or NULL. */
struct vhost_vring *vhost_running(const struct vhost_device *dev, uint32_t i);

/* Where the parts of a ring lie with us; false: not in the guest's memory, or crooked
 * (virtio 1.1 section 2.6: alignments and sizes).
 */
bool vhost_locate(
	const struct vhost_device *dev, const struct vhost_ring_setup *s, struct vhost_vring *v);

/* Make rings first to last run as they are set up now, and free how they ran before. */
void vhost_apply(struct vhost_device *dev, uint32_t first, uint32_t last);
void vhost_apply_all(struct vhost_device *dev);

/* What workers poll follows from what runs and is enabled. */
void vhost_apply_masks(struct vhost_device *dev);

/* Whether ring i is told to run, and cannot: it is not in the guest's memory. */
bool vhost_is_crooked(const struct vhost_device *dev, uint32_t i);

/* ---- share.c ---- */

/* Have what is enabled counted as load.  Pairs stay with their workers when it is not. */
void vhost_share_out(struct vhost_device *dev);

/* Let kicks of a pair wake its worker, which without that does not sleep. */
void vhost_share_heed_kicks(struct vhost_device *dev, uint32_t pair);

/* Before their eventfd is closed or the worker changes. */
void vhost_share_ignore_kicks(struct vhost_device *dev, uint32_t pair);

#endif
