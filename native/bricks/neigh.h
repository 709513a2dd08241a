/* SPDX-License-Identifier: Apache-2.0
 *
 * A network's memory of its neighbours: which MAC is behind which brick, and which IP
 * address is at which MAC.
 *
 * Why: when the datapath dies, QEMU takes the guest's link down, and Linux then
 * forgets its neighbours (neigh_carrier_down()).  Its first ARP request goes into
 * the dead link, the next comes a second later (retrans_time): a guest would
 * feel an outage of a second however fast we are back.  So the switch remembers
 * what ARP and neighbour discovery have said, in a file on a tmpfs that outlives
 * the process, and tells a guest that comes back what it has forgotten.
 *
 * Announcements are what RFC 5227 section 2.3 (ARP) and RFC 4861 section 7.2.6
 * (unsolicited neighbour advertisement) provide for; hosts use them to update or
 * complete an entry, never to create one.
 *
 * MACs are remembered for the switches outside, which have to find a guest that came
 * back, and so that a restarted switch need not flood.  (But not those of a port with
 * several sessions: which of them is which is not known after a restart.)  Not every guest speaks
 * ARP: those that were only seen to send are announced by RARP (RFC 903), as QEMU does after a
 * migration.
 *
 * One table a network, of fixed size, MACs apart from addresses, 8 entries a bucket; the
 * one not heard of for longest makes room.  Who has half of a bucket makes room among
 * its own, so that a guest that invents addresses does not wipe out the others'.  Entries
 * carry a check sum, since a crash can come in the middle of a write.
 */
#ifndef VB_NEIGH_H
#define VB_NEIGH_H

#include <pthread.h>
#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

#define VB_NEIGH_MACS 1024
#define VB_NEIGH_ADDRESSES 1024
#define VB_NEIGH_MAX (VB_NEIGH_MACS + VB_NEIGH_ADDRESSES)
#define VB_NEIGH_AGE_S 3600 /* not told of when not heard of for so long */

struct vb_neigh {
	uint8_t ip[16]; /* IPv4 in the first four, the rest 0 */
	uint8_t mac[6];
	uint8_t family;	 /* 4, 6, or 0: a MAC and no address */
	uint8_t shared;	 /* the origin had several stations: unknown which one it is */
	uint32_t seen_s; /* vb_ctx's clock */
	uint32_t origin; /* vb_neigh_origin() of the brick behind which it is */
	uint32_t check;	 /* of all before; 0: free */
} __rte_aligned(8);

struct vb_neigh_file;

struct vb_neigh_table {
	pthread_spinlock_t lock; /* workers only try it: a lost sighting does not matter */
	struct vb_neigh_file *file;
};

/* Map path, or anonymous memory if it is NULL.  A file of another version, or one that may
 * not be opened, is replaced.  -errno.
 */
int vb_neigh_init(struct vb_neigh_table *t, const char *path);
void vb_neigh_fini(struct vb_neigh_table *t);

/* A number for a brick that is the same after a restart. */
uint32_t vb_neigh_origin(const char *brick_name);

/* Worker: note that mac was seen to send.  n says where and when: origin, shared, seen_s. */
void vb_neigh_note(struct vb_neigh_table *t, const uint8_t *mac, struct vb_neigh n);

/* Worker: note what an ARP or neighbour discovery packet says of its sender.  n as above. */
void vb_neigh_snoop(struct vb_neigh_table *t, const struct rte_mbuf *m, struct vb_neigh n);

/* Worker: whether a frame (of at least an Ethernet header) is worth snooping. */
static inline bool vb_neigh_wants(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	if (p[12] == 0x08)
		return p[13] == 0x06; /* ARP */
	/* IPv6 with ICMPv6 as its next header. */
	return p[12] == 0x86 && p[13] == 0xdd && m->data_len > 54 && p[20] == 58;
}

/* Copy all entries that are not too old, MACs first; returns how many, VB_NEIGH_MAX at most. */
uint32_t vb_neigh_list(struct vb_neigh_table *t, uint32_t now_s, struct vb_neigh *out);

/* There are several stations behind origin now. */
void vb_neigh_share(struct vb_neigh_table *t, uint32_t origin);

/* Nothing is behind origin any more. */
void vb_neigh_forget(struct vb_neigh_table *t, uint32_t origin);

/* Write the frame that announces n to everybody; buf has VB_NEIGH_FRAME bytes.
 * Returns the frame's length.
 */
#define VB_NEIGH_FRAME 86
uint16_t vb_neigh_frame(const struct vb_neigh *n, uint8_t *buf);

#endif
