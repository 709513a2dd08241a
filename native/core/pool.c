/* SPDX-License-Identifier: Apache-2.0
 *
 * See pool.h.  Buffers of the small pool go back into it and are not used again.
 */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <rte_common.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_memzone.h>
#include <stdbool.h>

#include "core/runtime.h"
#include "vhost_brick.h"

#define FIRST 2048
#define CACHE 256

struct rte_mempool *vb_pool;

static struct {
	struct rte_mempool *first, *whole;
	const struct rte_memzone *memory; /* of the whole one */
	pthread_mutex_t lock;
	bool filled; /* guarded by lock */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A pool without its buffers, and where they will be. */
static int reserve(uint32_t n)
{
	uint16_t size = sizeof(struct rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE;
	/* Where devices see our own addresses, no buffer has to stay in one page. */
	unsigned int flags = rte_eal_iova_mode() == RTE_IOVA_VA ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
	size_t page, chunk, align;
	ssize_t len;

	pool.whole = rte_mempool_create_empty("vb_mbufs", n, size, CACHE,
		sizeof(struct rte_pktmbuf_pool_private), SOCKET_ID_ANY, flags);
	if (pool.whole == NULL ||
		rte_mempool_set_ops_byname(pool.whole, rte_mbuf_best_mempool_ops(), NULL) != 0)
		return -ENOMEM;
	rte_pktmbuf_pool_init(pool.whole, NULL);
	if (rte_mempool_get_page_size(pool.whole, &page) != 0)
		return -EINVAL;
	len = rte_mempool_op_calc_mem_size_default(
		pool.whole, n, page != 0 ? rte_bsf64(page) : 0, &chunk, &align);
	if (len < 0)
		return (int)len;
	pool.memory = rte_memzone_reserve_aligned(
		"vb_mbufs", len, SOCKET_ID_ANY, RTE_MEMZONE_IOVA_CONTIG, align);
	return pool.memory != NULL ? 0 : -ENOMEM;
}

static void fill(void)
{
	const struct rte_memzone *m = pool.memory;

	pthread_mutex_lock(&pool.lock);
	if (!pool.filled &&
		rte_mempool_populate_iova(pool.whole, m->addr, m->iova, m->len, NULL, NULL) > 0) {
		rte_mempool_obj_iter(pool.whole, rte_pktmbuf_init, NULL);
		__atomic_store_n(&vb_pool, pool.whole, __ATOMIC_RELEASE);
	}
	pool.filled = true;
	pthread_mutex_unlock(&pool.lock);
}

static void *fill_main(void *arg)
{
	fill();
	return arg;
}

static int fill_later(void)
{
	pthread_t thread;
	int ret = vb_thread_start(&thread, "vb-pool", fill_main, NULL);

	if (ret == 0)
		pthread_detach(thread);
	return ret;
}

int vb_pool_start(uint32_t nb_mbufs)
{
	uint32_t first = RTE_MIN(nb_mbufs, (uint32_t)FIRST);
	int ret = 0;

	pool.first = rte_pktmbuf_pool_create(
		"vb_first", first, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (pool.first == NULL)
		return -ENOMEM;
	vb_pool = pool.first;
	if (nb_mbufs > first)
		ret = reserve(nb_mbufs);
	return ret == 0 && nb_mbufs > first ? fill_later() : ret;
}

struct rte_mempool *vb_pool_whole(void)
{
	if (pool.whole != NULL)
		fill();
	return vb_buffers();
}

uint32_t vb_buffers_in_use(void)
{
	uint32_t n = pool.first != NULL ? rte_mempool_in_use_count(pool.first) : 0;

	if (pool.first != NULL && vb_buffers() != pool.first)
		n += rte_mempool_in_use_count(pool.whole);
	return n;
}
