/* SPDX-License-Identifier: Apache-2.0
 *
 * A port's life, from devargs to detached.
 *
 * Queues: a device that can spread flows over its queues (RSS) gets as many as there
 * are workers.  One that cannot has the queues that its devargs say, and the kernel or
 * whoever is behind it fills all of them, so all are set up and polled.
 *
 * MTU: that a frame of full MTU may have a VLAN tag is part of the bargain.  Most drivers
 * and the kernel's interfaces have room for one beyond the MTU; where the driver's figures
 * say otherwise, the tag is added to the MTU.
 *
 * EAL's list of devices has no lock for us: hotplug is that lock.
 */
#include <errno.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>

#include "bricks/nic.h"
#include "core/pool.h"

#define DESCRIPTORS 512
#define TAG_LEN 4
#define OVERHEAD (RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)

static pthread_mutex_t hotplug = PTHREAD_MUTEX_INITIALIZER;

static int find(const char *devargs, uint16_t *port)
{
	struct rte_dev_iterator it;

	if (rte_eth_iterator_init(&it, devargs) != 0)
		return -EINVAL;
	*port = rte_eth_iterator_next(&it);
	rte_eth_iterator_cleanup(&it);
	return *port != RTE_MAX_ETHPORTS ? 0 : -ENODEV;
}

static int own(uint16_t port)
{
	struct rte_eth_dev_owner owner = {.name = "vhost-brick"};

	rte_eth_dev_owner_new(&owner.id);
	return rte_eth_dev_owner_set(port, &owner) == 0 ? 0 : -EBUSY;
}

/* Find the port, probe it if there is none, and own it. */
static int acquire(const char *devargs, uint16_t *port)
{
	int ret = find(devargs, port);

	if (ret == -ENODEV) {
		if (rte_dev_probe(devargs) != 0)
			return -ENODEV;
		ret = find(devargs, port);
	}
	return ret == 0 ? own(*port) : ret;
}

static void release(uint16_t port)
{
	struct rte_eth_dev_info info = {0};

	rte_eth_dev_info_get(port, &info);
	rte_eth_dev_close(port);
	if (info.device != NULL)
		rte_dev_remove(info.device);
}

/* What the device's MTU must be for frames of mtu bytes and a tag. */
static uint32_t mtu_with_tag(const struct rte_eth_dev_info *info, uint32_t mtu)
{
	bool told = info->max_mtu != UINT16_MAX && info->max_rx_pktlen > info->max_mtu;
	uint32_t overhead = told ? info->max_rx_pktlen - info->max_mtu : OVERHEAD;

	if (info->if_index != 0 || overhead >= OVERHEAD + TAG_LEN)
		return mtu;
	return RTE_MIN(mtu + TAG_LEN, RTE_MAX(mtu, info->max_mtu));
}

static bool fits_one_mbuf(uint32_t mtu)
{
	return mtu + OVERHEAD + TAG_LEN <= RTE_MBUF_DEFAULT_DATAROOM;
}

static void choose_queues(struct nic_device *device, const struct rte_eth_dev_info *info)
{
	uint16_t workers = rte_lcore_count() - 1;
	bool rss = info->flow_type_rss_offloads != 0;

	device->nb_rxq = rss ? RTE_MIN(workers, info->max_rx_queues) : info->max_rx_queues;
	device->nb_txq = RTE_MIN(device->nb_rxq, RTE_MIN(info->max_tx_queues, VB_WORKERS_MAX));
}

static int configure(struct nic_device *device, const struct rte_eth_dev_info *info, uint32_t mtu)
{
	uint64_t segs = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	struct rte_eth_conf conf = {.rxmode.mtu = mtu, .txmode.offloads = segs};

	device->multi_segs = segs != 0;
	device->scatter = !fits_one_mbuf(mtu);
	if (device->scatter) {
		if ((info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) == 0)
			return -EINVAL;
		conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
	}
	if (device->nb_rxq > 1 && info->flow_type_rss_offloads != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			info->flow_type_rss_offloads &
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
	}
	conf.intr_conf.lsc = (*info->dev_flags & RTE_ETH_DEV_INTR_LSC) != 0;
	conf.intr_conf.rmv = (*info->dev_flags & RTE_ETH_DEV_INTR_RMV) != 0;
	return rte_eth_dev_configure(device->port, device->nb_rxq, device->nb_txq, &conf);
}

static int setup_queues(const struct nic_device *device)
{
	uint16_t rxd = DESCRIPTORS, txd = DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(device->port);
	int ret = rte_eth_dev_adjust_nb_rx_tx_desc(device->port, &rxd, &txd);

	for (uint16_t q = 0; ret == 0 && q < device->nb_rxq; q++)
		ret = rte_eth_rx_queue_setup(device->port, q, rxd, socket, NULL, vb_pool_whole());
	for (uint16_t q = 0; ret == 0 && q < device->nb_txq; q++)
		ret = rte_eth_tx_queue_setup(device->port, q, txd, socket, NULL);
	return ret == 0 ? 0 : -EIO;
}

static int start(struct nic_device *device, uint32_t mtu)
{
	struct rte_eth_dev_info info;
	int ret;

	if (mtu > UINT16_MAX - TAG_LEN)
		return -EINVAL;
	if (rte_eth_dev_info_get(device->port, &info) != 0)
		return -EIO;
	choose_queues(device, &info);
	if (device->nb_rxq == 0 || device->nb_txq == 0)
		return -EIO;
	ret = configure(device, &info, mtu_with_tag(&info, mtu));
	if (ret == 0)
		ret = setup_queues(device);
	if (ret == 0)
		ret = nic_device_set_mtu(device, mtu);
	if (ret != 0)
		return ret == -EINVAL ? ret : -EIO;
	rte_eth_stats_reset(device->port);
	if (rte_eth_dev_start(device->port) != 0)
		return -EIO;
	/* Guests' addresses are not the device's.  One that takes all anyway cannot say so. */
	rte_eth_promiscuous_enable(device->port);
	return 0;
}

int nic_device_open(const char *devargs, uint32_t mtu, struct nic_device *out)
{
	int ret;

	pthread_mutex_lock(&hotplug);
	ret = acquire(devargs, &out->port);
	if (ret == 0) {
		ret = start(out, mtu);
		if (ret != 0)
			release(out->port);
	}
	pthread_mutex_unlock(&hotplug);
	return ret;
}

void nic_device_close(const struct nic_device *device)
{
	pthread_mutex_lock(&hotplug);
	/* A kernel's interface outlives us. */
	rte_eth_promiscuous_disable(device->port);
	rte_eth_dev_stop(device->port);
	release(device->port);
	pthread_mutex_unlock(&hotplug);
}

int nic_device_set_mtu(const struct nic_device *device, uint32_t mtu)
{
	struct rte_eth_dev_info info;
	int ret = rte_eth_dev_info_get(device->port, &info);

	if (mtu > UINT16_MAX - TAG_LEN || !(device->scatter || fits_one_mbuf(mtu)))
		return -EINVAL;
	if (ret == 0)
		ret = rte_eth_dev_set_mtu(device->port, mtu_with_tag(&info, mtu));
	return ret == -ENOTSUP ? 0 : ret;
}
