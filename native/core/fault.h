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
	X(OUT_OF_RESOURCES, "out_of_resources", "the vhost library could not register the port",  \
		"See the log; the library serves 1024 sockets and 1024 frontends.")

enum vb_fault {
#define X(id, name, meaning, hint) VB_FAULT_##id,
	VB_FAULT_LIST(X)
#undef X
		VB_FAULTS
};

#endif
