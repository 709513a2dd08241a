/* SPDX-License-Identifier: Apache-2.0
 *
 * Why packets end.  The names are the same in CLI, metrics and docs: change one
 * only with a release note.
 */
#ifndef VB_DROP_H
#define VB_DROP_H

#define VB_DROP_LIST(X)                                                                           \
	X(RING_FULL, "ring_full", "the receiver did not take packets fast enough")                \
	X(NO_RING, "no_ring", "the receiving guest has no ring enabled")                          \
	X(TOO_SHORT, "too_short", "the frame is shorter than an Ethernet header")                 \
	X(TOO_BIG, "too_big", "the frame is larger than the receiver's MTU")                      \
	X(HAIRPIN, "hairpin", "the destination is where the frame came from")                     \
	X(BAD_SOURCE, "bad_source", "the source address is a group address or zero")              \
	X(RESERVED, "reserved", "link-local group address 01:80:c2:00:00:0x, never forwarded")    \
	X(BAD_HEADER, "bad_header", "a header is cut short, malformed, or hides what follows it") \
	X(TAGGED, "tagged", "a VLAN tag where none may be")                                       \
	X(PORT_CLOSED, "port_closed", "the port is closed: it passes nothing, either way")        \
	X(SPOOFED_MAC, "spoofed_mac", "the guest may not send from this MAC address")             \
	X(SPOOFED_IP, "spoofed_ip", "the guest may not send from this IP address")                \
	X(SPOOFED_ARP, "spoofed_arp", "ARP that claims an address that the guest may not use")    \
	X(SPOOFED_ND, "spoofed_nd", "IPv6 neighbour discovery that claims such an address")       \
	X(ROGUE_RA, "rogue_ra", "an IPv6 router advertisement or redirect by a guest")            \
	X(ROGUE_DHCP, "rogue_dhcp", "a DHCP server's answer by a guest")                          \
	X(NO_PEER, "no_peer", "nothing is joined to the other end")                               \
	X(NO_BUFFER, "no_buffer", "no packet buffer was free: raise [dpdk] mbufs")                \
	X(IO_ERROR, "io_error", "the kernel refused the frame")                                   \
	X(NO_VLAN, "no_vlan", "no network of the trunk has the frame's VLAN")                     \
	X(MISSED, "missed", "workers did not take frames from the device fast enough")            \
	X(DEVICE_ERROR, "device_error", "the device or its driver refused the frame")             \
	X(BAD_TUNNEL, "bad_tunnel",                                                               \
		"a UDP packet is no VXLAN packet (counted at one tunnel of its local address)")   \
	X(UNKNOWN_VNI, "unknown_vni",                                                             \
		"no network has the packet's VNI (counted at one tunnel of its local address)")   \
	X(UNKNOWN_REMOTE, "unknown_remote", "the packet's sender is no remote of the tunnel")     \
	X(DESC_INDEX, "desc_index", "a descriptor's number is outside its ring or table")         \
	X(DESC_CHAIN, "desc_chain",                                                               \
		"a chain of descriptors goes round in circles, or is too long")                   \
	X(DESC_MEMORY, "desc_memory", "a descriptor points outside the guest's memory")           \
	X(DESC_INDIRECT, "desc_indirect",                                                         \
		"an indirect table where none may be, or of no proper size")                      \
	X(DESC_DIRECTION, "desc_direction",                                                       \
		"a buffer to write to where one to read is due, or the reverse")                  \
	X(HEADER_ONLY, "header_only", "nothing stands behind a frame's virtio header")            \
	X(RUNT_BUFFER, "runt_buffer", "a receive buffer is too small for the virtio header")      \
	X(FRAME_TOO_LONG, "frame_too_long", "a chain holds more bytes than a frame may have")     \
	X(BAD_GSO, "bad_gso", "segmentation that was not agreed on, or fits no frame")            \
	X(BAD_CSUM, "bad_csum", "a checksum that was not agreed on, or is none of its frame's")   \
	X(AVAIL_JUMP, "avail_jump", "a ring's index is further ahead than the ring is long")

enum vb_drop {
#define X(id, name, meaning) VB_DROP_##id,
	VB_DROP_LIST(X)
#undef X
		VB_DROPS
};

#endif
