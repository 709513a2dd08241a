/* SPDX-License-Identifier: Apache-2.0
 *
 * The nic brick's inside: the DPDK port (nic_device.c) and what workers do with it
 * (nic.c).
 */
#ifndef VB_NIC_H
#define VB_NIC_H

#include <pthread.h>

#include "core/brick.h"
#include "core/fault.h"

/* A port of DPDK's that is started. */
struct nic_device {
	uint16_t port;
	uint16_t nb_rxq, nb_txq;
	bool multi_segs; /* sends frames of more than one mbuf */
	bool scatter;	 /* receives them */
};

/* Probe the device, unless DPDK knows it already, make its port ours and start it.
 * -EINVAL: devargs of no kind that DPDK knows, or it cannot do mtu.  -ENODEV: its driver
 * did not take it.  -EBUSY: the port is somebody's.  -EIO: it does not start.  In all
 * cases DPDK's log says more.
 */
int nic_device_open(const char *devargs, uint32_t mtu, struct nic_device *out);

/* Stop, close and detach it.  No worker uses it any more. */
void nic_device_close(const struct nic_device *device);

/* -EINVAL: too large.  -EBUSY: only while stopped.  A device without the notion has 0. */
int nic_device_set_mtu(const struct nic_device *device, uint32_t mtu);

/* Workers that share a queue take turns. */
struct nic_txq {
	pthread_spinlock_t lock;
} __rte_cache_aligned;

struct nic_state {
	struct nic_device device;
	uint32_t first;	     /* the worker of the first receive queue; the next one is next */
	uint32_t max_frame;  /* atomic */
	enum vb_fault fault; /* only the thread that DPDK calls back on */
	struct vb_brick *brick;
	struct nic_txq txq[VB_WORKERS_MAX];
};

#endif
