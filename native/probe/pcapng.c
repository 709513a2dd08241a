/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see pcapng.h.
 */
#include "probe/pcapng.h"

#include <string.h>

enum block_type {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
};

enum option_code {
	OPT_END = 0,
	SHB_USERAPPL = 4,
	IF_NAME = 2,
	IF_TSRESOL = 9,
	EPB_FLAGS = 2,
	ISB_STARTTIME = 2,
	ISB_ENDTIME = 3,
	ISB_IFRECV = 4,
	ISB_IFDROP = 5,
	ISB_FILTERACCEPT = 6,
	ISB_USRDELIV = 8,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4d
#define LINKTYPE_ETHERNET 1
#define NANOSECONDS 9 /* of if_tsresol: 10^-9 s */

/* A block in the making. */
struct block {
	uint8_t *start, *next;
};

static void put(struct block *b, const void *data, size_t n)
{
	memcpy(b->next, data, n);
	b->next += n;
}

static void put16(struct block *b, uint16_t v)
{
	put(b, &v, sizeof(v));
}

static void put32(struct block *b, uint32_t v)
{
	put(b, &v, sizeof(v));
}

static void put_padded(struct block *b, const void *data, size_t n)
{
	static const uint8_t zero[4];

	put(b, data, n);
	put(b, zero, -n & 3);
}

static void put_option(struct block *b, uint16_t code, const void *value, uint16_t n)
{
	put16(b, code);
	put16(b, n);
	put_padded(b, value, n);
}

/* A time is told as its high half and its low one, whatever the byte order. */
static void put_time(struct block *b, uint64_t time)
{
	put32(b, time >> 32);
	put32(b, time);
}

static void put_time_option(struct block *b, uint16_t code, uint64_t time)
{
	put16(b, code);
	put16(b, sizeof(time));
	put_time(b, time);
}

static struct block block_begin(uint8_t *to, uint32_t type)
{
	struct block b = {to, to};

	put32(&b, type);
	put32(&b, 0); /* its length, not known yet */
	return b;
}

static size_t block_end(struct block *b)
{
	uint32_t length;

	put32(b, OPT_END);
	length = b->next + sizeof(length) - b->start;
	put32(b, length);
	memcpy(b->start + sizeof(uint32_t), &length, sizeof(length));
	return length;
}

static size_t put_section(uint8_t *to)
{
	static const char application[] = "vhost-brickd";
	struct block b = block_begin(to, BLOCK_SECTION);

	put32(&b, BYTE_ORDER_MAGIC);
	put16(&b, 1); /* version 1.0 */
	put16(&b, 0);
	put32(&b, UINT32_MAX); /* its length, 64 bits: not told */
	put32(&b, UINT32_MAX);
	put_option(&b, SHB_USERAPPL, application, strlen(application));
	return block_end(&b);
}

size_t vb_pcapng_begin(uint8_t *to, const char *interface, uint32_t snaplen)
{
	static const uint8_t resolution = NANOSECONDS;
	size_t n = put_section(to);
	struct block b = block_begin(to + n, BLOCK_INTERFACE);

	put16(&b, LINKTYPE_ETHERNET);
	put16(&b, 0);
	put32(&b, snaplen);
	put_option(&b, IF_NAME, interface, strlen(interface));
	put_option(&b, IF_TSRESOL, &resolution, sizeof(resolution));
	return n + block_end(&b);
}

size_t vb_pcapng_packet(uint8_t *to, const struct vb_pcapng_packet *packet)
{
	struct block b = block_begin(to, BLOCK_PACKET);

	put32(&b, 0); /* the interface */
	put_time(&b, packet->time);
	put32(&b, packet->kept);
	put32(&b, packet->length);
	put_padded(&b, packet->data, packet->kept);
	put_option(&b, EPB_FLAGS, &packet->direction, sizeof(packet->direction));
	return block_end(&b);
}

size_t vb_pcapng_end(uint8_t *to, const struct vb_pcapng_totals *t)
{
	struct block b = block_begin(to, BLOCK_STATISTICS);

	put32(&b, 0); /* the interface */
	put_time(&b, t->ended);
	put_time_option(&b, ISB_STARTTIME, t->started);
	put_time_option(&b, ISB_ENDTIME, t->ended);
	put_option(&b, ISB_IFRECV, &t->seen, sizeof(t->seen));
	put_option(&b, ISB_IFDROP, &t->lost, sizeof(t->lost));
	put_option(&b, ISB_FILTERACCEPT, &t->wanted, sizeof(t->wanted));
	put_option(&b, ISB_USRDELIV, &t->delivered, sizeof(t->delivered));
	return block_end(&b);
}
