/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_random.h>

#include "traffic.h"

static void make_template(struct stream *s)
{
	const struct stream_args *a = &s->args;
	struct frame *f = (struct frame *)s->frame;

	memset(f, 0, sizeof(*f));
	f->eth.dst_addr = a->dst;
	f->eth.src_addr = a->src;
	f->eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	f->ip.version_ihl = RTE_IPV4_VHL_DEF;
	f->ip.total_length = rte_cpu_to_be_16(a->size - sizeof(f->eth));
	f->ip.time_to_live = 64;
	f->ip.next_proto_id = IPPROTO_UDP;
	f->ip.src_addr = RTE_BE32(RTE_IPV4(198, 18, 0, 1));
	f->ip.dst_addr = RTE_BE32(RTE_IPV4(198, 18, 0, 2));
	f->ip.hdr_checksum = rte_ipv4_cksum(&f->ip);
	f->udp.src_port = RTE_BE16(FRAME_PORT_BASE);
	f->udp.dst_port = RTE_BE16(FRAME_PORT);
	f->udp.dgram_len = rte_cpu_to_be_16(a->size - offsetof(struct frame, udp));
	f->tag.magic = FRAME_MAGIC;
	f->tag.source = s->source;
	for (unsigned int i = 0; i < a->size - sizeof(*f); i++)
		f->fill[i] = frame_fill(i);
}

int stream_start(struct stream *s, const struct stream_args *args, uint64_t now)
{
	if (args->size < FRAME_MIN || args->size > FRAME_MAX || args->flows < 1 ||
		args->flows > MAX_FLOWS || args->macs < 1 || args->macs > MAX_FLOWS)
		return -EINVAL;
	s->args = *args;
	s->source = rte_rand();
	s->made = 0;
	s->paced = 0;
	s->paced_since = now;
	memset(s->seq, 0, sizeof(s->seq));
	make_template(s);
	s->active = true;
	return 0;
}

void stream_stop(struct stream *s)
{
	s->active = false;
}

static bool all_made(const struct stream *s)
{
	return s->args.count != 0 && s->made >= s->args.count;
}

bool stream_done(const struct stream *s)
{
	if (s->active && !all_made(s))
		return false;
	for (unsigned int q = 0; q < MAX_QUEUES; q++)
		if (s->queue[q].n > 0)
			return false;
	return true;
}

void stream_drop_pending(struct stream *s)
{
	for (unsigned int q = 0; q < MAX_QUEUES; q++) {
		struct tx_queue *tx = &s->queue[q];

		rte_pktmbuf_free_bulk(tx->pending + tx->first, tx->n);
		tx->n = 0;
	}
}

static void fill_frame(
	struct stream *s, struct tx_queue *tx, uint16_t queue, struct rte_mbuf *m, uint32_t stamp)
{
	struct frame *f = rte_pktmbuf_mtod(m, struct frame *);
	uint16_t flow = tx->flow;
	uint16_t channel = queue * MAX_FLOWS + flow;

	/* A buffer that has been through here before still holds its frame. */
	if (f->tag.source != s->source)
		memcpy(f, s->frame, s->args.size);
	m->data_len = s->args.size;
	m->pkt_len = s->args.size;
	f->eth.src_addr.addr_bytes[5] = s->args.src.addr_bytes[5] + flow % s->args.macs;
	f->udp.src_port = rte_cpu_to_be_16(FRAME_PORT_BASE + flow % s->args.flows);
	f->tag.channel = channel;
	f->tag.seq = s->seq[channel]++;
	f->tag.stamp = stamp;
	if (++tx->flow >= RTE_MAX(s->args.flows, s->args.macs))
		tx->flow = 0;
}

/* Returns how many frames the rate and the count allow now. */
static unsigned int allowance(struct stream *s, uint64_t now)
{
	uint64_t n = BURST, due;

	if (s->args.count != 0)
		n = RTE_MIN(n, s->args.count - s->made);
	if (s->args.rate == 0)
		return n;
	due = (double)(now - s->paced_since) * s->args.rate / rte_get_tsc_hz();
	/* What a stalled ring kept back is not made up for in a storm. */
	if (due > s->paced + 8 * BURST) {
		s->paced_since = now;
		s->paced = 0;
		return 0;
	}
	return RTE_MIN(n, due - s->paced);
}

static void make_frames(struct stream *s, uint16_t queue, struct rte_mempool *pool, uint64_t now)
{
	struct tx_queue *tx = &s->queue[queue];
	unsigned int n = allowance(s, now);

	if (n == 0 || rte_pktmbuf_alloc_bulk(pool, tx->pending, n) != 0)
		return;
	for (unsigned int i = 0; i < n; i++)
		fill_frame(s, tx, queue, tx->pending[i], frame_stamp(now));
	tx->first = 0;
	tx->n = n;
	s->made += n;
	s->paced += n;
}

static unsigned int poll_queue(
	struct stream *s, uint16_t port, uint16_t queue, struct rte_mempool *pool, uint64_t now)
{
	struct tx_queue *tx = &s->queue[queue];
	uint16_t sent;

	if (tx->n == 0 && s->active && !all_made(s))
		make_frames(s, queue, pool, now);
	if (tx->n == 0)
		return 0;
	sent = rte_eth_tx_burst(port, queue, tx->pending + tx->first, tx->n);
	tx->first += sent;
	tx->n -= sent;
	s->tx += sent;
	s->tx_full += tx->n > 0;
	return sent;
}

unsigned int stream_poll(
	struct stream *s, uint16_t port, uint16_t queues, struct rte_mempool *pool, uint64_t now)
{
	unsigned int sent = 0;

	if (s->args.queue != ALL_QUEUES)
		return poll_queue(s, port, s->args.queue, pool, now);
	/* Each queue begins in turn, or a low rate would only ever use the first. */
	for (uint16_t i = 0; i < queues; i++)
		sent += poll_queue(s, port, (s->next_queue + i) % queues, pool, now);
	s->next_queue = (s->next_queue + 1) % queues;
	return sent;
}
