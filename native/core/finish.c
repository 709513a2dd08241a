/* SPDX-License-Identifier: Apache-2.0
 *
 * See finish.h.
 */
#include "core/finish.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <string.h>

#include "core/bytes.h"
#include "core/pool.h"

/* ---- checksums (RFC 1071) ---- */

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The sum of m's bytes from an offset on, as it lies in memory. */
static uint16_t sum_from(const struct rte_mbuf *m, uint32_t offset)
{
	bool odd = false;
	uint32_t sum = 0;

	for (; m != NULL; m = m->next) {
		uint32_t len = m->data_len;
		uint16_t part;

		if (offset >= len) {
			offset -= len;
			continue;
		}
		part = rte_raw_cksum(
			rte_pktmbuf_mtod_offset(m, const void *, offset), len - offset);
		sum += odd ? rte_bswap16(part) : part;
		odd ^= (len - offset) & 1;
		offset = 0;
	}
	return fold(sum);
}

/* m's field holds the pseudo header's sum: have it hold the checksum. */
static void fill_checksum(struct rte_mbuf *m, uint32_t start, uint32_t offset)
{
	uint16_t sum = ~sum_from(m, start);

	/* To UDP zero would mean that there is none; both stand for zero. */
	if (sum == 0)
		sum = 0xffff;
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, start + offset), &sum, sizeof(sum));
}

static struct rte_mbuf *with_checksum(struct vb_counters *row, struct rte_mbuf *m)
{
	if (!vb_is_own(m))
		m = vb_copy(row, m);
	if (m == NULL)
		return NULL;
	fill_checksum(m, vb_offload(m)->csum_start, vb_offload(m)->csum_offset);
	m->ol_flags &= ~vb_offload_flag;
	return m;
}

/* ---- segments ---- */

static uint32_t segments(uint32_t payload, uint32_t size)
{
	return (payload + size - 1) / size;
}

/* Append the next len bytes of the payload to m. */
static bool append_payload(struct vb_finish *f, struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *last = m;

	while (len > 0) {
		uint32_t here = RTE_MIN(len, f->seg->data_len - f->at);

		if (here == 0) {
			f->seg = f->seg->next;
			f->at = 0;
			continue;
		}
		if (rte_pktmbuf_tailroom(last) == 0) {
			last->next = rte_pktmbuf_alloc(vb_buffers());
			if (last->next == NULL)
				return false;
			last = last->next;
			m->nb_segs++;
		}
		here = RTE_MIN(here, (uint32_t)rte_pktmbuf_tailroom(last));
		memcpy(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len),
			rte_pktmbuf_mtod_offset(f->seg, const uint8_t *, f->at), here);
		last->data_len += here;
		m->pkt_len += here;
		f->at += here;
		len -= here;
	}
	return true;
}

static void adapt_ip(const struct vb_offload *o, struct rte_mbuf *m, uint32_t number)
{
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, o->ip);
	uint32_t len = m->pkt_len - o->ip;
	uint16_t sum;

	if ((o->needs & VB_OFFLOAD_TSO6) != 0) {
		vb_store16(ip + 4, len - sizeof(struct rte_ipv6_hdr));
		return;
	}
	vb_store16(ip + 2, len);
	vb_store16(ip + 4, vb_load16(ip + 4) + number);
	vb_store16(ip + 10, 0);
	sum = ~rte_raw_cksum(ip, (ip[0] & RTE_IPV4_HDR_IHL_MASK) * RTE_IPV4_IHL_MULTIPLIER);
	memcpy(ip + 10, &sum, sizeof(sum));
}

/* m begins done bytes behind the first segment. */
static void adapt_tcp(
	const struct vb_finish *f, const struct vb_offload *o, struct rte_mbuf *m, uint32_t done)
{
	uint8_t *tcp = rte_pktmbuf_mtod_offset(m, uint8_t *, o->csum_start);
	uint32_t all = f->m->pkt_len - o->csum_start, here = m->pkt_len - o->csum_start;

	vb_store32(tcp + 4, vb_load32(tcp + 4) + done);
	if (done > 0)
		tcp[13] &= ~RTE_TCP_CWR_FLAG;
	if (f->left > 0)
		tcp[13] &= ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	/* The pseudo header has the length: the whole one out, the segment's in. */
	vb_store16(tcp + 16, fold(vb_load16(tcp + 16) + (uint16_t)~fold(all) + here));
	fill_checksum(m, o->csum_start, o->csum_offset);
}

/* The next segment; NULL: no buffers. */
static struct rte_mbuf *cut(struct vb_finish *f)
{
	const struct vb_offload *o = vb_offload(f->m);
	uint32_t done = f->m->pkt_len - o->headers - f->left;
	uint32_t len = RTE_MIN(f->left, o->gso_size);
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_buffers());

	if (m == NULL)
		return NULL;
	memcpy(rte_pktmbuf_append(m, o->headers), rte_pktmbuf_mtod(f->m, const void *),
		o->headers);
	if (!append_payload(f, m, len)) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	f->left -= len;
	adapt_ip(o, m, done / o->gso_size);
	adapt_tcp(f, o, m, done);
	return m;
}

/* ---- packets ---- */

void vb_finish_begin(
	struct vb_finish *f, struct vb_counters *row, struct rte_mbuf *m, uint8_t able)
{
	const struct vb_offload *o = vb_offload(m);

	*f = (struct vb_finish){.m = m, .suits = vb_offload_suits(m, able)};
	if (f->suits || o->gso_size == 0)
		return;
	f->seg = m;
	f->at = o->headers;
	f->left = m->pkt_len - o->headers;
	vb_count(&row->made_packets, segments(f->left, o->gso_size) - 1);
}

struct rte_mbuf *vb_finish_next(struct vb_finish *f, struct vb_counters *row)
{
	struct rte_mbuf *m = f->m;

	if (m == NULL)
		return NULL;
	if (f->left == 0) {
		f->m = NULL;
		return f->suits ? m : with_checksum(row, m);
	}
	m = cut(f);
	if (m == NULL) {
		vb_finish_drop(f, row, VB_DROP_NO_BUFFER);
	} else if (f->left == 0) {
		rte_pktmbuf_free(f->m);
		f->m = NULL;
	}
	return m;
}

void vb_finish_drop(struct vb_finish *f, struct vb_counters *row, enum vb_drop why)
{
	if (f->m == NULL)
		return;
	vb_count(
		&row->drops[why], f->left > 0 ? segments(f->left, vb_offload(f->m)->gso_size) : 1);
	rte_pktmbuf_free(f->m);
	*f = (struct vb_finish){0};
}

void vb_finish_burst(struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n, uint8_t able,
	void (*emit)(void *arg, struct rte_mbuf **pkts, uint16_t n), void *arg)
{
	struct rte_mbuf *out[VB_BURST], *m;
	uint16_t nb_out = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct vb_finish f;

		vb_finish_begin(&f, row, pkts[i], able);
		while ((m = vb_finish_next(&f, row)) != NULL) {
			out[nb_out++] = m;
			if (nb_out == VB_BURST) {
				emit(arg, out, nb_out);
				nb_out = 0;
			}
		}
	}
	if (nb_out > 0)
		emit(arg, out, nb_out);
}
