/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be wrong with a port, by a name that is the same in CLI, metrics and
 * docs: change one only with a release note.
 */
#ifndef VB_FAULT_H
#define VB_FAULT_H

#define VB_FAULT_LIST(X)                                                                          \
	X(NONE, "", "", "")                                                                       \
	X(NOT_A_SOCKET, "not_a_socket", "something at the socket path is not a socket",           \
		"Remove the file, or give the port another socket path.")                         \
	X(DENIED, "denied", "the socket may not be opened",                                       \
		"Give vhost-brickd's user write access to the socket and search access to its "   \
		"directory.")                                                                     \
	X(FRONTEND_LEAVES, "frontend_leaves",                                                     \
		"the frontend connects and leaves before its device is ready",                    \
		"See QEMU's log: it may ask for more queues than the port offers, lack shared "   \
		"guest memory, or miss a feature that it had before.")                            \
	X(TOO_MANY_SESSIONS, "too_many_sessions", "more frontends connect than one port serves",  \
		"Give the surplus frontends ports of their own.")                                 \
	X(MEMORY_NOT_SHARED, "memory_not_shared",                                                 \
		"the guest's memory is not shared: its network card is dead",                     \
		"With Nova, use a flavor with hw:mem_page_size=large, or set [libvirt] "          \
		"file_backed_memory in nova.conf. With libvirt, put <access mode='shared'/> "     \
		"into <memoryBacking>, with <hugepages/> or <source type='memfd'/>. Then stop "   \
		"the guest and start it again.")                                                  \
	X(MEMORY_UNUSABLE, "memory_unusable", "the guest's memory cannot be mapped",              \
		"See the log for the reason. Huge pages that are not shared, or a file that is "  \
		"smaller than the memory in it, look like this; 'vhost-brick domain check' "      \
		"tells of the first.")                                                            \
	X(INTERFACE_GONE, "interface_gone", "the uplink's interface or device is gone",           \
		"vhost-brickd takes it back, a tap by making it again; see what removed it.")     \
	X(LINK_DOWN, "link_down", "the uplink's device has no link",                              \
		"See to the cable and to the switch at its other end.")                           \
	X(OUT_OF_RESOURCES, "out_of_resources", "no memory or no file descriptors are left",      \
		"Raise LimitNOFILE of the service, or the memory of the host.")                   \
	X(BAD_MESSAGE, "bad_message",                                                             \
		"the frontend sent a message that no vhost-user frontend may send",               \
		"See the log for the message. QEMU does not do that: see who connects to the "    \
		"socket.")                                                                        \
	X(FEATURE_REFUSED, "feature_refused",                                                     \
		"the frontend insists on features that the port does not offer",                  \
		"Stop the VM and start it again; if it was started with another datapath or "     \
		"version, "                                                                       \
		"delete the port and create it again.")                                           \
	X(FRONTEND_STALLS, "frontend_stalls",                                                     \
		"the frontend leaves a message unfinished, or its answers unread",                \
		"See whether QEMU hangs; the connection was closed, and may come again.")         \
	X(CONNECTION_FLOOD, "connection_flood",                                                   \
		"frontends connect faster than the port takes them",                              \
		"See who connects to the socket; the others wait in its queue.")                  \
	X(PEER_DENIED, "peer_denied",                                                             \
		"the process at the other end of the socket is not one that may use it",          \
		"Add the user that QEMU runs as to [vhost] peer_users, or see who has the "       \
		"socket.")                                                                        \
	X(GUEST_MISBEHAVES, "guest_misbehaves",                                                   \
		"the guest's rings keep holding what has to be refused",                          \
		"See the port's drops for what it is; its rings rest meanwhile, ever longer. A "  \
		"guest "                                                                          \
		"with a sane driver does not do that.")                                           \
	X(MEMORY_SHRUNK, "memory_shrunk",                                                         \
		"the file behind the guest's memory was made smaller under it",                   \
		"See who changes the file, or whether huge pages or the tmpfs ran out; then "     \
		"start the "                                                                      \
		"guest again.")                                                                   \
	X(CANNOT_LISTEN, "cannot_listen", "the port's socket cannot be made",                     \
		"See what stands at its path, and the rights of the directory.")

enum vb_fault {
#define X(id, name, meaning, hint) VB_FAULT_##id,
	VB_FAULT_LIST(X)
#undef X
		VB_FAULTS
};

#endif
