/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames out of and into a guest's rings; see ring.h.
 */
#include "vhost/ring.h"

#include <linux/virtio_net.h>
#include <rte_prefetch.h>
#include <string.h>

#include "core/pool.h"
#include "vhost/call.h"
#include "vhost/chain.h"

void vhost_ring_reset(struct vhost_ring *ring, uint16_t next)
{
	ring->next = next;
	ring->signalled = next;
	ring->signalled_valid = false;
	ring->out_of_step = false;
	ring->deaf = false;
}

static inline uint16_t *used_event(const struct vhost_vring *v)
{
	return &v->avail->ring[v->size];
}

static void log_used(const struct vhost_vring *v, uint64_t offset, uint64_t len)
{
	if (v->log != NULL && v->log_used != VHOST_NO_LOG)
		vhost_log_write(v->log, v->log_used + offset, len);
}

void vhost_vring_call(const struct vhost_vring *v)
{
	if (v->call >= 0)
		(void)vhost_call(v->call);
}

/* Have the driver kick when it makes chain number "event" available (virtio 1.1 section
 * 2.6.10), where it goes by numbers; else by flags.
 */
static void ask_for_kick(const struct vhost_vring *v, uint16_t event, uint16_t flags)
{
	if (v->event_idx) {
		uint64_t offset = offsetof(struct vring_used, ring) +
				  v->size * sizeof(struct vring_used_elem);
		uint16_t *avail_event = RTE_PTR_ADD(v->used, offset);

		__atomic_store_n(avail_event, event, __ATOMIC_RELAXED);
		log_used(v, offset, sizeof(*avail_event));
	} else {
		__atomic_store_n(&v->used->flags, flags, __ATOMIC_RELAXED);
		log_used(v, offsetof(struct vring_used, flags), sizeof(v->used->flags));
	}
}

void vhost_ring_hush(const struct vhost_ring *ring, const struct vhost_vring *v)
{
	/* The number before the next one comes again after 65535 others. */
	ask_for_kick(v, ring->next - 1, VRING_USED_F_NO_NOTIFY);
}

bool vhost_ring_listen(const struct vhost_ring *ring, const struct vhost_vring *v)
{
	uint16_t n;

	ask_for_kick(v, ring->next, 0);
	/* The driver sees that, or we see what it made available before it looked. */
	rte_smp_mb();
	n = __atomic_load_n(&v->avail->idx, __ATOMIC_ACQUIRE) - ring->next;
	/* What cannot be true, and was refused, is no reason to stay awake. */
	return n == 0 || (n > v->size && ring->out_of_step);
}

static void refuse(struct vhost_ring *ring, struct vb_counters *row, enum vb_drop why)
{
	vb_count(&ring->refused, 1);
	vb_count(&row->drops[why], 1);
}

/* How many chains the guest has made available, and whether that is news which makes no
 * sense: an index further ahead than the ring is long.
 */
static uint16_t available(struct vhost_ring *ring, const struct vhost_vring *v, bool *jumped)
{
	uint16_t idx = __atomic_load_n(&v->avail->idx, __ATOMIC_ACQUIRE);
	uint16_t n = idx - ring->next;
	bool out_of_step = n > v->size;

	*jumped = out_of_step && !ring->out_of_step;
	ring->out_of_step = out_of_step;
	return likely(!out_of_step) ? n : 0;
}

static inline uint16_t head_at(const struct vhost_vring *v, uint16_t number)
{
	return __atomic_load_n(&v->avail->ring[number & (v->size - 1)], __ATOMIC_RELAXED);
}

/* Write a used element; the guest sees it after publish(). */
static inline void use(const struct vhost_vring *v, uint16_t number, uint16_t head, uint32_t len)
{
	uint16_t slot = number & (v->size - 1);

	v->used->ring[slot] = (struct vring_used_elem){.id = head, .len = len};
	if (unlikely(v->log != NULL))
		log_used(v, offsetof(struct vring_used, ring[slot]), sizeof(v->used->ring[0]));
}

/* Whether the driver wants an interrupt (virtio 1.1 section 2.6.7.2). */
static bool wants_call(struct vhost_ring *ring, const struct vhost_vring *v)
{
	uint16_t before = ring->signalled;
	bool valid = ring->signalled_valid;

	if (!v->event_idx)
		return (__atomic_load_n(&v->avail->flags, __ATOMIC_RELAXED) &
			       VRING_AVAIL_F_NO_INTERRUPT) == 0;
	ring->signalled = ring->next;
	ring->signalled_valid = true;
	return !valid || vring_need_event(__atomic_load_n(used_event(v), __ATOMIC_RELAXED),
				 ring->next, before);
}

/* A frontend that makes us wait is called no more, and is looked at. */
static void call(struct vhost_ring *ring, const struct vhost_vring *v)
{
	if (v->call < 0 || ring->deaf || likely(vhost_call(v->call)))
		return;
	ring->deaf = true;
	vb_count(&ring->refused, VHOST_OFFENCE);
}

/* Let the guest have all chains before ring->next. */
static void publish(struct vhost_ring *ring, const struct vhost_vring *v)
{
	__atomic_store_n(&v->used->idx, ring->next, __ATOMIC_RELEASE);
	log_used(v, offsetof(struct vring_used, idx), sizeof(v->used->idx));
	/* The index must be seen before the driver's wish is looked at. */
	rte_smp_mb();
	if (wants_call(ring, v))
		call(ring, v);
}

/* ---- from the guest ---- */

/* Nothing of it was offered: see VB_FEATURES in bricks/vhost.c. */
static enum vb_drop check_header(const struct virtio_net_hdr *hdr)
{
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return VB_DROP_BAD_GSO;
	return (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 ? VHOST_CHAIN_OK : VB_DROP_BAD_CSUM;
}

/* Copy a frame of len bytes into m and as many mbufs more as it needs. */
static enum vb_drop fill(struct rte_mbuf *m, struct vhost_cursor *at, uint32_t len)
{
	struct rte_mbuf *last = m;

	for (;;) {
		uint16_t here = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(last));

		vhost_chain_read(at, rte_pktmbuf_mtod(last, void *), here);
		last->data_len = here;
		m->pkt_len += here;
		len -= here;
		if (len == 0)
			return VHOST_CHAIN_OK;
		last->next = rte_pktmbuf_alloc(vb_buffers());
		if (last->next == NULL)
			return VB_DROP_NO_BUFFER;
		last = last->next;
		m->nb_segs++;
	}
}

static enum vb_drop receive_one(const struct vhost_vring *v, uint16_t head, struct rte_mbuf *m)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	struct vhost_chain chain;
	struct vhost_cursor at = {.piece = chain.pieces};
	enum vb_drop why;

	chain.nb_pieces = 0;
	chain.nb_empty = 0;
	chain.bytes = 0;
	why = vhost_chain_append(&chain, v, head, false);
	if (why != VHOST_CHAIN_OK)
		return why;
	if (chain.bytes <= v->header_len)
		return VB_DROP_HEADER_ONLY;
	if (chain.bytes - v->header_len > VHOST_FRAME_MAX)
		return VB_DROP_FRAME_TOO_LONG;
	vhost_chain_read(&at, &hdr, v->header_len);
	why = check_header(&hdr.hdr);
	return why != VHOST_CHAIN_OK ? why : fill(m, &at, chain.bytes - v->header_len);
}

uint16_t vhost_ring_receive(struct vhost_ring *ring, const struct vhost_vring *v,
	struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *fresh[VB_BURST];
	uint16_t count, kept = 0;
	bool jumped;

	count = RTE_MIN(available(ring, v, &jumped), n);
	/* It stands for chains that nobody will ever see. */
	if (unlikely(jumped)) {
		refuse(ring, row, VB_DROP_AVAIL_JUMP);
		vb_count(&row->from_peer_packets, 1);
	}
	/* Without buffers the frames wait in the ring. */
	if (count == 0 || rte_pktmbuf_alloc_bulk(vb_buffers(), fresh, count) != 0)
		return 0;
	for (uint16_t i = 0; i < count; i++) {
		uint16_t number = ring->next + i, head = head_at(v, number);
		enum vb_drop why = receive_one(v, head, fresh[i]);

		use(v, number, head, 0);
		if (likely(why == VHOST_CHAIN_OK)) {
			pkts[kept++] = fresh[i];
			continue;
		}
		rte_pktmbuf_free(fresh[i]);
		if (why == VB_DROP_NO_BUFFER)
			vb_count(&row->drops[why], 1);
		else
			refuse(ring, row, why);
	}
	ring->next += count;
	publish(ring, v);
	vb_count(&row->from_peer_packets, count);
	vb_count(&row->from_peer_bytes, vb_bytes(pkts, kept));
	return kept;
}

/* ---- to the guest ---- */

/* What a frame goes into: chains from ring->next + first on. */
struct room {
	struct vhost_chain chain;
	uint16_t nb_heads;
	uint16_t heads[VHOST_CHAIN_MAX];
	uint32_t bytes[VHOST_CHAIN_MAX]; /* of each of them */
};

enum room_result {
	ROOM_OK,
	ROOM_NONE,    /* the guest has to make more buffers available */
	ROOM_REFUSED, /* a chain is no good: "why" */
};

/* Collect chains for a frame that needs so many bytes, of "left" that are available. */
static enum room_result find_room(struct room *room, const struct vhost_vring *v, uint16_t number,
	uint16_t left, uint32_t needed, enum vb_drop *why)
{
	room->chain.nb_pieces = 0;
	room->chain.nb_empty = 0;
	room->chain.bytes = 0;
	room->nb_heads = 0;
	do {
		uint32_t before = room->chain.bytes;
		uint16_t head;

		if (room->nb_heads == left)
			return ROOM_NONE;
		head = head_at(v, number + room->nb_heads);
		room->heads[room->nb_heads] = head;
		*why = vhost_chain_append(&room->chain, v, head, true);
		if (*why == VHOST_CHAIN_OK && room->chain.bytes - before < v->header_len)
			*why = VB_DROP_RUNT_BUFFER;
		room->bytes[room->nb_heads++] = room->chain.bytes - before;
		if (*why != VHOST_CHAIN_OK)
			return ROOM_REFUSED;
		if (room->chain.bytes >= needed)
			return ROOM_OK;
	} while (v->mergeable && room->nb_heads < VHOST_CHAIN_MAX);
	*why = VB_DROP_TOO_BIG;
	return ROOM_REFUSED;
}

static void write_frame(const struct vhost_vring *v, struct room *room, const struct rte_mbuf *m)
{
	struct virtio_net_hdr_mrg_rxbuf hdr = {.num_buffers = room->nb_heads};
	struct vhost_cursor at = {.piece = room->chain.pieces};

	vhost_chain_write(&at, &hdr, v->header_len, v->log);
	for (; m != NULL; m = m->next)
		vhost_chain_write(&at, rte_pktmbuf_mtod(m, const void *), m->data_len, v->log);
}

/* Hand the chains of room to the guest with len bytes in them; returns how many. */
static uint16_t use_room(
	const struct vhost_vring *v, const struct room *room, uint16_t number, uint32_t len)
{
	for (uint16_t i = 0; i < room->nb_heads; i++) {
		uint32_t here = RTE_MIN(len, room->bytes[i]);

		use(v, number + i, room->heads[i], here);
		len -= here;
	}
	return room->nb_heads;
}

/* One frame; returns how many chains it took: 0 if there is no room. */
static uint16_t send_one(struct vhost_ring *ring, const struct vhost_vring *v,
	struct vb_counters *row, uint16_t done, uint16_t left, const struct rte_mbuf *m)
{
	uint16_t number = ring->next + done;
	uint32_t needed = v->header_len + m->pkt_len;
	enum vb_drop why = VB_DROP_RING_FULL;
	struct room room;

	switch (find_room(&room, v, number, left, needed, &why)) {
	case ROOM_OK:
		write_frame(v, &room, m);
		vb_count(&row->to_peer_packets, 1);
		vb_count(&row->to_peer_bytes, m->pkt_len);
		return use_room(v, &room, number, needed);
	case ROOM_REFUSED:
		/* A frame too long for its buffers is nobody's misbehaviour. */
		if (why == VB_DROP_TOO_BIG)
			vb_count(&row->drops[why], 1);
		else
			refuse(ring, row, why);
		return use_room(v, &room, number, 0);
	default:
		return 0;
	}
}

void vhost_ring_send(struct vhost_ring *ring, const struct vhost_vring *v, struct vb_counters *row,
	struct rte_mbuf **pkts, uint16_t n)
{
	enum vb_drop why = VB_DROP_RING_FULL;
	uint16_t left, used = 0, sent = 0;
	bool jumped;

	left = available(ring, v, &jumped);
	if (unlikely(ring->out_of_step)) {
		vb_count(&ring->refused, jumped);
		why = VB_DROP_AVAIL_JUMP;
	}
	while (sent < n && used < left) {
		uint16_t took = send_one(ring, v, row, used, left - used, pkts[sent]);

		if (took == 0)
			break;
		used += took;
		sent++;
	}
	if (used > 0) {
		ring->next += used;
		publish(ring, v);
	}
	rte_pktmbuf_free_bulk(pkts, sent);
	if (sent < n)
		vb_drop(row, why, pkts + sent, n - sent);
}
