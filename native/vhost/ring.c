/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames out of and into a guest's rings; see ring.h.
 */
#include "vhost/ring.h"

#include <linux/virtio_net.h>
#include <rte_prefetch.h>
#include <string.h>

#include "core/fetch.h"
#include "core/loan.h"
#include "core/offload.h"
#include "core/pool.h"
#include "vhost/call.h"
#include "vhost/chain.h"

/* A frame so long has all but its head lent, not copied. */
#define LOAN_FROM 1024u

/* Of each chain of a burst so many bytes are fetched when it is walked: all that short
 * frames have.  The rest is while the frame before it is copied, and of the longest ones
 * no more than the cache has to spare.
 */
#define FETCHED 128u
#define FETCH_MAX 2048u

void vhost_ring_reset(struct vhost_ring *ring, uint16_t next)
{
	ring->next = next;
	ring->signalled = next;
	ring->signalled_valid = false;
	ring->out_of_step = false;
	ring->deaf = false;
	ring->received = 0;
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

/* Copy what is left of a frame behind last, into as many mbufs as it takes. */
static enum vb_drop copy_rest(
	struct rte_mbuf *m, struct rte_mbuf *last, struct vhost_cursor *at, uint32_t len)
{
	while (len > 0) {
		uint16_t here;

		last->next = rte_pktmbuf_alloc(vb_buffers());
		if (last->next == NULL)
			return VB_DROP_NO_BUFFER;
		last = last->next;
		here = RTE_MIN(len, (uint32_t)rte_pktmbuf_tailroom(last));
		vhost_chain_read(at, rte_pktmbuf_mtod(last, void *), here);
		last->data_len = here;
		m->pkt_len += here;
		m->nb_segs++;
		len -= here;
	}
	return VHOST_CHAIN_OK;
}

/* The same without a copy, as far as there are loans. */
static enum vb_drop lend_rest(struct rte_mbuf *m, struct vhost_cursor *at, uint32_t len)
{
	struct rte_mbuf *last = m;

	while (len > 0) {
		uint8_t *data = at->piece->at + at->offset;
		struct rte_mbuf *loan = vb_loan_new();
		uint16_t here;

		if (loan == NULL)
			return copy_rest(m, last, at, len);
		here = vhost_cursor_step(at, RTE_MIN(len, (uint32_t)UINT16_MAX));
		vb_loan_of(loan, data, here);
		last->next = loan;
		last = loan;
		m->pkt_len += here;
		m->nb_segs++;
		len -= here;
	}
	return VHOST_CHAIN_OK;
}

/* Have a frame of len bytes in m, and behind it. */
static enum vb_drop fill(struct rte_mbuf *m, struct vhost_cursor *at, uint32_t len)
{
	uint32_t here = len < LOAN_FROM ? len : VB_HEAD;

	vhost_chain_read(at, rte_pktmbuf_mtod(m, void *), here);
	m->data_len = here;
	m->pkt_len = here;
	return likely(here == len) ? VHOST_CHAIN_OK : lend_rest(m, at, len - here);
}

/* A chain of a burst, and what it is good for. */
struct offer {
	struct vhost_chain chain;
	uint16_t head;
	enum vb_drop why;
};

static void read_header(
	const struct vhost_vring *v, struct vhost_cursor *at, struct virtio_net_hdr_mrg_rxbuf *hdr)
{
	if (likely(v->header_len == sizeof(*hdr) && at->piece->len > sizeof(*hdr))) {
		memcpy(hdr, at->piece->at, sizeof(*hdr));
		at->offset = sizeof(*hdr);
		return;
	}
	vhost_chain_gather(at, hdr, v->header_len);
}

static enum vb_drop receive_one(const struct vhost_vring *v, const struct vhost_pieces *pieces,
	const struct vhost_chain *chain, struct rte_mbuf *m)
{
	struct vhost_cursor at = vhost_cursor_at(chain, pieces);
	struct virtio_net_hdr_mrg_rxbuf hdr;
	enum vb_drop why;

	if (unlikely(chain->bytes <= v->header_len))
		return VB_DROP_HEADER_ONLY;
	if (unlikely(chain->bytes - v->header_len > VHOST_FRAME_MAX))
		return VB_DROP_FRAME_TOO_LONG;
	read_header(v, &at, &hdr);
	why = fill(m, &at, chain->bytes - v->header_len);
	return why != VHOST_CHAIN_OK ? why : vb_offload_take(m, &hdr.hdr, v->offloads);
}

/* Have what will be copied next into an mbuf on its way, but for what walk() has. */
static inline void fetch_head(const struct vhost_chain *chain, const struct vhost_pieces *pieces)
{
	const struct vhost_piece *piece = &pieces->at[chain->first];

	if (chain->bytes > FETCHED && chain->nb_pieces > 0)
		vb_fetch(piece->at, FETCHED, RTE_MIN(piece->len, LOAN_FROM));
}

/* Walk up to n chains, and have what they name on its way; returns how many. */
static uint16_t walk(const struct vhost_ring *ring, const struct vhost_vring *v,
	struct offer *offers, struct vhost_pieces *pieces, uint16_t n)
{
	uint16_t i;

	for (i = 0; i < n; i++) {
		offers[i].head = head_at(v, ring->next + i);
		rte_prefetch0(&v->desc[offers[i].head & (v->size - 1)]);
	}
	pieces->nb = 0;
	for (i = 0; i < n && !vhost_pieces_full(pieces); i++) {
		struct offer *o = &offers[i];

		vhost_chain_begin(&o->chain, pieces);
		o->why = vhost_chain_append(&o->chain, pieces, v, o->head, false);
		if (likely(o->chain.nb_pieces > 0))
			vb_fetch(pieces->at[o->chain.first].at, 0, FETCHED);
	}
	return i;
}

uint16_t vhost_ring_receive(struct vhost_ring *ring, const struct vhost_vring *v,
	struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *fresh[VB_BURST];
	struct offer offers[VB_BURST];
	struct vhost_pieces pieces;
	uint16_t count, kept = 0;
	bool jumped;

	count = RTE_MIN(available(ring, v, &jumped), n);
	/* It stands for chains that nobody will ever see. */
	if (unlikely(jumped)) {
		refuse(ring, row, VB_DROP_AVAIL_JUMP);
		vb_count(&row->from_peer_packets, 1);
	}
	if (count == 0)
		return 0;
	count = walk(ring, v, offers, &pieces, count);
	/* Without buffers the frames wait in the ring. */
	if (rte_pktmbuf_alloc_bulk(vb_buffers(), fresh, count) != 0)
		return 0;
	for (uint16_t i = 0; i < count; i++) {
		struct offer *o = &offers[i];

		if (i + 1 < count)
			fetch_head(&offers[i + 1].chain, &pieces);
		if (likely(o->why == VHOST_CHAIN_OK))
			o->why = receive_one(v, &pieces, &o->chain, fresh[i]);
		use(v, ring->next + i, o->head, 0);
		if (likely(o->why == VHOST_CHAIN_OK)) {
			pkts[kept++] = fresh[i];
			continue;
		}
		rte_pktmbuf_free(fresh[i]);
		if (o->why == VB_DROP_NO_BUFFER)
			vb_count(&row->drops[o->why], 1);
		else
			refuse(ring, row, o->why);
	}
	ring->next += count;
	ring->received = count;
	vb_count(&row->from_peer_packets, count);
	vb_count(&row->from_peer_bytes, vb_bytes(pkts, kept));
	return kept;
}

void vhost_ring_release(struct vhost_ring *ring, const struct vhost_vring *v)
{
	if (ring->received == 0)
		return;
	ring->received = 0;
	publish(ring, v);
}

/* ---- to the guest ---- */

/* What a frame goes into, of the chains of a plan. */
struct room {
	struct vhost_chain chain;
	uint16_t first; /* of its heads */
	uint16_t nb_heads;
	enum vb_drop why; /* VHOST_CHAIN_OK, or a chain is no good */
};

#define HEADS_MAX (2 * VHOST_CHAIN_MAX)

/* Where the frames of a burst go, from chain ring->next on. */
struct plan {
	uint16_t left; /* chains that the guest has made available */
	uint16_t nb_heads;
	uint16_t heads[HEADS_MAX];
	uint32_t bytes[HEADS_MAX]; /* of each of them */
	struct room rooms[VB_BURST];
	struct vhost_pieces pieces;
};

/* Collect chains for a frame that needs so many bytes; false: there are none left. */
static bool find_room(struct plan *plan, struct room *room, const struct vhost_vring *v,
	uint16_t number, uint32_t needed)
{
	vhost_chain_begin(&room->chain, &plan->pieces);
	room->first = plan->nb_heads;
	room->nb_heads = 0;
	do {
		uint32_t before = room->chain.bytes;
		uint16_t head, at = plan->nb_heads;

		if (at == plan->left)
			return false;
		head = head_at(v, number + at);
		room->why = vhost_chain_append(&room->chain, &plan->pieces, v, head, true);
		if (room->why == VHOST_CHAIN_OK && room->chain.bytes - before < v->header_len)
			room->why = VB_DROP_RUNT_BUFFER;
		plan->heads[at] = head;
		plan->bytes[at] = room->chain.bytes - before;
		plan->nb_heads++;
		room->nb_heads++;
		if (room->why != VHOST_CHAIN_OK || room->chain.bytes >= needed)
			return true;
	} while (v->mergeable && room->nb_heads < VHOST_CHAIN_MAX);
	room->why = VB_DROP_TOO_BIG;
	return true;
}

/* Find room for up to n frames; returns for how many. */
static uint16_t make_plan(struct plan *plan, const struct vhost_vring *v, uint16_t number,
	uint16_t left, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t i;

	plan->left = left;
	plan->nb_heads = 0;
	plan->pieces.nb = 0;
	for (i = 0; i < n && i < left; i++)
		rte_prefetch0(&v->desc[head_at(v, number + i) & (v->size - 1)]);
	for (i = 0; i < n; i++) {
		struct room *room = &plan->rooms[i];

		if (vhost_pieces_full(&plan->pieces) ||
			plan->nb_heads > HEADS_MAX - VHOST_CHAIN_MAX)
			break;
		if (!find_room(plan, room, v, number, v->header_len + pkts[i]->pkt_len))
			break;
		if (likely(room->chain.nb_pieces > 0))
			vb_fetch_to_write(plan->pieces.at[room->chain.first].at, 0, FETCHED);
	}
	return i;
}

/* The header of a frame with nothing left to do.  In one piece it is made of two words:
 * a copy of a struct would wait for its parts.
 */
static void write_header(const struct vhost_vring *v, struct vhost_cursor *at, uint16_t nb_buffers,
	const struct rte_mbuf *m)
{
	const uint32_t end = rte_cpu_to_le_32((uint32_t)nb_buffers << 16);
	struct virtio_net_hdr_mrg_rxbuf hdr = {.num_buffers = rte_cpu_to_le_16(nb_buffers)};

	if (likely(v->log == NULL && v->header_len == sizeof(hdr) &&
		    at->piece->len > sizeof(hdr) && vb_offload_suits(m, 0))) {
		memset(at->piece->at, 0, sizeof(hdr) - sizeof(end));
		memcpy(at->piece->at + sizeof(hdr) - sizeof(end), &end, sizeof(end));
		at->offset = sizeof(hdr);
		return;
	}
	vb_offload_put(m, &hdr.hdr);
	vhost_chain_scatter(at, &hdr, v->header_len, v->log);
}

static void write_frame(const struct vhost_vring *v, const struct plan *plan,
	const struct room *room, const struct rte_mbuf *m)
{
	struct vhost_cursor at = vhost_cursor_at(&room->chain, &plan->pieces);

	write_header(v, &at, room->nb_heads, m);
	for (; m != NULL; m = m->next)
		if (likely(m->data_len > 0))
			vhost_chain_write(
				&at, rte_pktmbuf_mtod(m, const void *), m->data_len, v->log);
}

/* Hand the chains of room to the guest with len bytes in them. */
static void use_room(const struct vhost_vring *v, const struct plan *plan, const struct room *room,
	uint16_t number, uint32_t len)
{
	for (uint16_t i = room->first; i < room->first + room->nb_heads; i++) {
		uint32_t here = RTE_MIN(len, plan->bytes[i]);

		use(v, number + i, plan->heads[i], here);
		len -= here;
	}
}

/* Have what a longer frame is copied to on its way, but for what the plan has.  What it is
 * copied from the processor sees coming by itself.
 */
static inline void fetch_frame(
	const struct plan *plan, const struct room *room, const struct rte_mbuf *m)
{
	const struct vhost_piece *piece = &plan->pieces.at[room->chain.first];

	if (m->pkt_len <= FETCHED || room->chain.nb_pieces == 0)
		return;
	vb_fetch_to_write(piece->at, FETCHED, RTE_MIN(RTE_MIN(piece->len, m->pkt_len), FETCH_MAX));
}

/* Carry a plan out for n frames; the chains of the others stay. */
static void carry_out(struct vhost_ring *ring, const struct vhost_vring *v,
	struct vb_counters *row, const struct plan *plan, struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t packets = 0, bytes = 0;
	uint16_t used = 0;

	for (uint16_t i = 0; i < n; i++) {
		const struct room *room = &plan->rooms[i];
		uint32_t len = 0;

		if (i + 1 < n)
			fetch_frame(plan, room + 1, pkts[i + 1]);
		if (likely(room->why == VHOST_CHAIN_OK)) {
			write_frame(v, plan, room, pkts[i]);
			len = v->header_len + pkts[i]->pkt_len;
			packets++;
			bytes += pkts[i]->pkt_len;
		} else if (room->why == VB_DROP_TOO_BIG) {
			/* A frame too long for its buffers is nobody's misbehaviour. */
			vb_count(&row->drops[room->why], 1);
		} else {
			refuse(ring, row, room->why);
		}
		use_room(v, plan, room, ring->next, len);
		used += room->nb_heads;
	}
	ring->next += used;
	vb_count(&row->to_peer_packets, packets);
	vb_count(&row->to_peer_bytes, bytes);
}

void vhost_ring_send(struct vhost_ring *ring, const struct vhost_vring *v, struct vb_counters *row,
	struct rte_mbuf **pkts, uint16_t n)
{
	enum vb_drop why = VB_DROP_RING_FULL;
	uint16_t left, sent = 0, before = ring->next;
	bool jumped;

	left = available(ring, v, &jumped);
	if (unlikely(ring->out_of_step)) {
		vb_count(&ring->refused, jumped);
		why = VB_DROP_AVAIL_JUMP;
	}
	while (sent < n && left > 0) {
		uint16_t number = ring->next, here;
		struct plan plan;

		here = make_plan(&plan, v, number, left, pkts + sent, n - sent);
		if (here == 0)
			break;
		carry_out(ring, v, row, &plan, pkts + sent, here);
		left -= (uint16_t)(ring->next - number);
		sent += here;
	}
	if (ring->next != before)
		publish(ring, v);
	vb_loans_free(pkts, sent);
	if (sent < n)
		vb_drop(row, why, pkts + sent, n - sent);
}
