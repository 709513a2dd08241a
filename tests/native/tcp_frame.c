/* SPDX-License-Identifier: Apache-2.0
 *
 * See tcp_frame.h.  Sums are made here in the plainest way there is, by nothing of what is
 * tested.
 */
#include "harness.h"

#include "tcp_frame.h"

#include <string.h>

#include "core/offload.h"
#include "core/pool.h"

#define ETH 14
#define TAG 4
#define FIN 0x01
#define PSH 0x08
#define CWR 0x80

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

static uint32_t get16(const uint8_t *p)
{
	return p[0] * 256 + p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) * 65536 + get16(p + 2);
}

/* RFC 1071, word by word. */
static uint16_t add(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 == 0 ? p[i] * 256 : p[i];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static uint32_t ip_len(const struct tcp_frame *f)
{
	return (f->version == 4 ? 20 : 40) + f->ip_options;
}

static uint32_t l4_len(const struct tcp_frame *f)
{
	return f->udp ? 8 : 20 + f->tcp_options;
}

uint32_t tcp_frame_ip(const struct tcp_frame *f)
{
	return ETH + f->tags * TAG;
}

uint32_t tcp_frame_l4(const struct tcp_frame *f)
{
	return tcp_frame_ip(f) + ip_len(f);
}

uint32_t tcp_frame_payload(const struct tcp_frame *f)
{
	return tcp_frame_l4(f) + l4_len(f);
}

static uint16_t pseudo(const struct tcp_frame *f, const uint8_t *p, uint32_t len)
{
	const uint8_t *ip = p + tcp_frame_ip(f);
	uint8_t rest[8] = {len >> 24, len >> 16, len >> 8, len, 0, 0, 0, f->udp ? 17 : 6};
	uint16_t sum = f->version == 4 ? add(0, ip + 12, 8) : add(0, ip + 8, 32);

	return add(sum, rest, sizeof(rest));
}

static uint8_t payload_at(uint32_t i)
{
	return i * 7 + i / 251;
}

static void put_ip4(const struct tcp_frame *f, uint8_t *ip)
{
	uint32_t total = ip_len(f) + l4_len(f) + f->payload;
	const uint8_t addresses[] = {10, 0, 0, 1, 10, 0, 0, 2};

	ip[0] = 0x40 | ip_len(f) / 4;
	put16(ip + 2, total);
	put16(ip + 4, f->id);
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = f->udp ? 17 : 6;
	memcpy(ip + 12, addresses, sizeof(addresses));
	memset(ip + 20, 1, f->ip_options);
	put16(ip + 10, (uint16_t)~add(0, ip, ip_len(f)));
}

static void put_ip6(const struct tcp_frame *f, uint8_t *ip)
{
	uint8_t protocol = f->udp ? 17 : 6;

	ip[0] = 0x60;
	put16(ip + 4, f->ip_options + l4_len(f) + f->payload);
	ip[6] = f->ip_options > 0 ? 60 : protocol;
	ip[7] = 64;
	for (int i = 0; i < 32; i++)
		ip[8 + i] = 0x20 + i;
	if (f->ip_options > 0) {
		ip[40] = protocol;
		ip[41] = f->ip_options / 8 - 1;
		ip[42] = 1; /* PadN */
		ip[43] = f->ip_options - 4;
	}
}

static void put_headers(const struct tcp_frame *f, uint8_t *p)
{
	uint8_t *ip = p + tcp_frame_ip(f), *l4 = p + tcp_frame_l4(f);

	p[0] = p[6] = 2;
	p[11] = 1;
	for (int i = 0; i < f->tags; i++) {
		put16(p + 12 + i * TAG, i + 1 < f->tags ? 0x88a8 : 0x8100);
		put16(p + 14 + i * TAG, 10 + i);
	}
	put16(ip - 2, f->version == 4 ? 0x0800 : 0x86dd);
	if (f->version == 4)
		put_ip4(f, ip);
	else
		put_ip6(f, ip);
	put16(l4, 1000);
	put16(l4 + 2, 2000);
	if (f->udp) {
		put16(l4 + 4, 8 + f->payload);
		put16(l4 + 6, pseudo(f, p, l4_len(f) + f->payload));
		return;
	}
	put32(l4 + 4, f->seq);
	l4[12] = l4_len(f) / 4 << 4;
	l4[13] = f->flags;
	memset(l4 + 20, 1, f->tcp_options);
	put16(l4 + 16, pseudo(f, p, l4_len(f) + f->payload));
}

struct rte_mbuf *tcp_frame_make(const struct tcp_frame *f)
{
	static uint8_t bytes[TCP_FRAME_MAX];
	uint32_t len = tcp_frame_payload(f) + f->payload, done = 0;
	struct rte_mbuf *m = NULL, *last = NULL;

	assert_true(len <= sizeof(bytes));
	memset(bytes, 0, tcp_frame_payload(f));
	put_headers(f, bytes);
	for (uint32_t i = 0; i < f->payload; i++)
		bytes[tcp_frame_payload(f) + i] = payload_at(i);
	while (done < len) {
		struct rte_mbuf *seg = rte_pktmbuf_alloc(vb_pool);
		uint32_t wish = m == NULL ? f->head : f->piece, here;

		assert_non_null(seg);
		here = RTE_MIN(len - done, (uint32_t)rte_pktmbuf_tailroom(seg));
		if (wish > 0)
			here = RTE_MIN(here, wish);
		memcpy(rte_pktmbuf_append(seg, here), bytes + done, here);
		done += here;
		if (m == NULL) {
			m = last = seg;
			continue;
		}
		last->next = seg;
		last = seg;
		m->nb_segs++;
		m->pkt_len += here;
	}
	return m;
}

struct virtio_net_hdr tcp_frame_header(const struct tcp_frame *f, uint16_t size)
{
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = size == 0	      ? VIRTIO_NET_HDR_GSO_NONE
			    : f->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					      : VIRTIO_NET_HDR_GSO_TCPV6,
		.gso_size = size,
		.hdr_len = tcp_frame_payload(f),
		.csum_start = tcp_frame_l4(f),
		.csum_offset = f->udp ? 6 : 16,
	};
}

struct rte_mbuf *tcp_frame_offload(const struct tcp_frame *f, uint16_t size)
{
	struct virtio_net_hdr hdr = tcp_frame_header(f, size);
	struct rte_mbuf *m = tcp_frame_make(f);

	assert_int_equal(vb_offload_take(m, &hdr, VB_OFFLOAD_ALL), VB_OFFLOAD_OK);
	return m;
}

static void check_ip(const struct tcp_frame *f, const uint8_t *ip, uint32_t len, uint32_t number)
{
	if (f->version == 6) {
		assert_int_equal(get16(ip + 4), len - 40);
		return;
	}
	assert_int_equal(get16(ip + 2), len);
	assert_int_equal(get16(ip + 4), (uint16_t)(f->id + number));
	assert_int_equal(add(0, ip, ip_len(f)), 0xffff);
}

static void check_tcp(const struct tcp_frame *f, const uint8_t *tcp, uint32_t done, bool last)
{
	uint8_t flags = f->flags;

	if (!last)
		flags &= ~(FIN | PSH);
	if (done > 0)
		flags &= ~CWR;
	assert_int_equal(get32(tcp + 4), (uint32_t)(f->seq + done));
	assert_int_equal(tcp[13], flags);
}

/* All of the headers that is the same in every segment. */
static void check_rest(const struct tcp_frame *f, const uint8_t *p)
{
	static uint8_t want[TCP_FRAME_MAX], got[TCP_FRAME_MAX];
	uint32_t ip = tcp_frame_ip(f), l4 = tcp_frame_l4(f), len = tcp_frame_payload(f);

	memset(want, 0, len);
	put_headers(f, want);
	memcpy(got, p, len);
	for (uint8_t *b = want;; b = got) {
		memset(b + ip + (f->version == 4 ? 2 : 4), 0, f->version == 4 ? 4 : 2);
		if (f->version == 4)
			memset(b + ip + 10, 0, 2);
		memset(b + l4 + (f->udp ? 6 : 16), 0, 2);
		if (!f->udp) {
			memset(b + l4 + 4, 0, 4);
			b[l4 + 13] = 0;
		}
		if (b == got)
			break;
	}
	assert_memory_equal(got, want, len);
}

uint32_t tcp_frame_check(
	const struct tcp_frame *f, const uint8_t *p, uint32_t len, uint32_t done, uint16_t size)
{
	uint32_t ip = tcp_frame_ip(f), l4 = tcp_frame_l4(f), at = tcp_frame_payload(f);
	uint32_t left = f->payload - done, want = size == 0 ? left : RTE_MIN(left, size);

	assert_int_equal(len, at + want);
	check_rest(f, p);
	check_ip(f, p + ip, len - ip, size == 0 ? 0 : done / size);
	if (!f->udp)
		check_tcp(f, p + l4, done, want == left);
	assert_int_equal(add(pseudo(f, p, len - l4), p + l4, len - l4), 0xffff);
	assert_int_not_equal(get16(p + l4 + (f->udp ? 6 : 16)), 0);
	for (uint32_t i = 0; i < want; i++)
		assert_int_equal(p[at + i], payload_at(done + i));
	return want;
}

uint32_t tcp_frame_check_mbuf(
	const struct tcp_frame *f, struct rte_mbuf *m, uint32_t done, uint16_t size)
{
	static uint8_t copy[TCP_FRAME_MAX];
	uint32_t got;

	assert_int_equal(m->ol_flags & vb_offload_flag, 0);
	rte_mbuf_sanity_check(m, 1);
	got = tcp_frame_check(f, rte_pktmbuf_read(m, 0, m->pkt_len, copy), m->pkt_len, done, size);
	rte_pktmbuf_free(m);
	return got;
}
