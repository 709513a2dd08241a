/* SPDX-License-Identifier: Apache-2.0
 *
 * TCP and UDP frames as a guest's driver makes them that leaves checksums and segments to
 * the device, and a receiver that checks every byte of what became of them.
 */
#ifndef TCP_FRAME_H
#define TCP_FRAME_H

#include <linux/virtio_net.h>
#include <rte_mbuf.h>
#include <stdbool.h>

#define TCP_FRAME_MAX 66000

struct tcp_frame {
	uint8_t version; /* of IP: 4 or 6 */
	bool udp;
	uint8_t tags;
	uint8_t ip_options;  /* bytes; with IPv6 an extension header of so many */
	uint8_t tcp_options; /* bytes */
	uint16_t id;	     /* of IPv4 */
	uint32_t seq;
	uint8_t flags;
	uint32_t payload;
	uint32_t head;	/* bytes in the first mbuf; 0: all that fit */
	uint32_t piece; /* in each other one; 0: the same */
};

/* Where its headers are. */
uint32_t tcp_frame_ip(const struct tcp_frame *f);
uint32_t tcp_frame_l4(const struct tcp_frame *f);
uint32_t tcp_frame_payload(const struct tcp_frame *f);

/* The frame, its checksum left to be done. */
struct rte_mbuf *tcp_frame_make(const struct tcp_frame *f);

/* A driver's header for it; size 0: no segmentation. */
struct virtio_net_hdr tcp_frame_header(const struct tcp_frame *f, uint16_t size);

/* make() and vb_offload_take(). */
struct rte_mbuf *tcp_frame_offload(const struct tcp_frame *f, uint16_t size);

/* Assert that the frame of len bytes at p is what an honest network card makes of the
 * payload from byte done on, in segments of size bytes (0: all in one); returns how many
 * bytes of payload it has.
 */
uint32_t tcp_frame_check(
	const struct tcp_frame *f, const uint8_t *p, uint32_t len, uint32_t done, uint16_t size);

/* The same of an mbuf, which is freed. */
uint32_t tcp_frame_check_mbuf(
	const struct tcp_frame *f, struct rte_mbuf *m, uint32_t done, uint16_t size);

#endif
