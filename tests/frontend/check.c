/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

#include "check.h"

#define WINDOW 64 /* bits in channel.seen */

void check_init(struct checker *c)
{
	memset(c, 0, sizeof(*c));
	for (unsigned int i = 0; i < sizeof(c->fill); i++)
		c->fill[i] = frame_fill(i);
}

void check_reset(struct checker *c)
{
	for (unsigned int i = 0; i < c->counters.sources; i++)
		free(c->channels[i]);
	memset(&c->counters, 0, sizeof(c->counters));
	memset(c->channels, 0, sizeof(c->channels));
}

static bool is_ours(const struct frame *f, uint16_t len)
{
	return len >= FRAME_MIN && f->eth.ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) &&
	       f->tag.magic == FRAME_MAGIC;
}

static bool is_intact(const struct checker *c, const struct frame *f, uint16_t len)
{
	return rte_be_to_cpu_16(f->ip.total_length) == len - sizeof(f->eth) && len <= FRAME_MAX &&
	       f->tag.channel < MAX_CHANNELS && memcmp(f->fill, c->fill, len - FRAME_MIN) == 0;
}

/* Returns the index of the frame's source, or -1 if there are too many. */
static int find_source(struct checker *c, const struct frame *f)
{
	struct check_counters *k = &c->counters;
	unsigned int i;

	for (i = 0; i < k->sources; i++)
		if (k->source[i].id == f->tag.source)
			return i;
	if (i == MAX_SOURCES)
		return -1;
	/* The only allocation here, once for each stream. */
	c->channels[i] = calloc(MAX_CHANNELS, sizeof(*c->channels[i]));
	if (c->channels[i] == NULL)
		return -1;
	k->source[i].id = f->tag.source;
	k->source[i].mac = f->eth.src_addr;
	k->sources++;
	return i;
}

static void count_ahead(struct source_counters *s, struct channel *ch, uint32_t gap)
{
	/* The first frame seen sets the start: earlier ones are not ours to miss. */
	if (ch->seen != 0)
		s->lost += gap;
	ch->seen = gap + 1 < WINDOW ? ch->seen << (gap + 1) : 0;
	ch->seen |= 1;
	ch->next += gap + 1;
}

static void count_behind(struct source_counters *s, struct channel *ch, uint32_t age)
{
	uint64_t bit = age < WINDOW ? UINT64_C(1) << age : 0;

	if (bit == 0 || (ch->seen & bit)) {
		s->duplicate++;
		return;
	}
	ch->seen |= bit;
	s->reordered++;
	if (s->lost > 0)
		s->lost--;
}

static void count_sequence(struct source_counters *s, struct channel *ch, uint32_t seq)
{
	int32_t ahead = seq - ch->next;

	s->rx++;
	if (ch->seen == 0 || ahead >= 0)
		count_ahead(s, ch, ahead);
	else
		count_behind(s, ch, -ahead - 1);
}

/* Sixteen buckets to a power of two: within 6 %, over the whole range. */
static unsigned int latency_bucket(uint32_t ticks)
{
	unsigned int msb;

	if (ticks < 16)
		return ticks;
	msb = 31 - __builtin_clz(ticks);
	return (msb - 3) * 16 + ((ticks >> (msb - 4)) & 15);
}

static uint32_t bucket_ticks(unsigned int bucket)
{
	if (bucket < 16)
		return bucket;
	return (16 + bucket % 16) << (bucket / 16 - 1);
}

double check_latency_us(const struct check_counters *c, double share)
{
	uint64_t total = 0, sum = 0;
	unsigned int i;

	for (i = 0; i < LATENCY_BUCKETS; i++)
		total += c->latency[i];
	if (total == 0)
		return 0;
	for (i = 0; i < LATENCY_BUCKETS; i++) {
		sum += c->latency[i];
		if (sum >= total * share)
			break;
	}
	return bucket_ticks(i) * 16.0 * 1e6 / rte_get_tsc_hz();
}

static bool check_one(struct checker *c, const struct rte_mbuf *m, uint32_t stamp)
{
	struct check_counters *k = &c->counters;
	const struct frame *f = rte_pktmbuf_mtod(m, const struct frame *);
	int i;

	if (!is_ours(f, m->data_len)) {
		k->rx_other++;
		return false;
	}
	if (m->nb_segs != 1 || !is_intact(c, f, m->data_len)) {
		k->rx_bad++;
		return false;
	}
	k->rx++;
	k->rx_bytes += m->data_len;
	k->latency[latency_bucket(stamp - f->tag.stamp)]++;
	i = find_source(c, f);
	if (i >= 0)
		count_sequence(&k->source[i], &c->channels[i][f->tag.channel], f->tag.seq);
	return true;
}

void check_burst(struct checker *c, struct rte_mbuf **mbufs, uint16_t n, uint64_t now)
{
	struct check_counters *k = &c->counters;
	uint32_t stamp = frame_stamp(now);
	bool ours = false;

	for (uint16_t i = 0; i < n; i++) {
		if (i + 2 < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 2], void *));
		ours |= check_one(c, mbufs[i], stamp);
	}
	if (!ours)
		return;
	if (k->last_tsc != 0)
		k->silence = RTE_MAX(k->silence, now - k->last_tsc);
	k->last_tsc = now;
}
