# SPDX-License-Identifier: Apache-2.0
"""A guest moves from one stand to another while it runs, as Nova has it done.

Nova's way (``nova/virt/libvirt``): peer to peer, libvirtd to libvirtd, with a
document for the destination in which paths are those of that host.  Memory goes
through a Unix socket; the machines' own addresses are nobody's business here.

QEMU before 9.0 cannot do it under TCG: when it looks which pages were written it
clears their marks, but not the TLB entries through which the guest goes on to write
them unseen, so that pages are missing at the destination and the guest's kernel dies
(QEMU's commit "physmem: Fix migration dirty bitmap coherency with TCG memory access").
An x86 guest that loads CR3 has its whole TLB flushed, and one with page table
isolation does so at each system call.  So a guest here runs with :data:`KERNEL_OPTIONS`
and, on its way, ``guest/flusher.c``, which does nothing else: the time in which a
write can be lost is then microseconds, too short for a page to be sent in.
"""

import threading
from concurrent.futures import Future
from pathlib import Path

from tools.lab.lab import Guest
from tools.lab.stand import Stand

KERNEL_OPTIONS = "pti=on init_on_alloc=0"
"""The second one keeps the guest from writing to pages that only its card shall write."""

BANDWIDTH_MIB = 32
"""A second.  A guest's memory takes some seconds then: time enough to see it happen."""

TIMEOUT_S = 120.0


class Migration:
    """One attempt, which is under way when this exists.

    :param here: the stand that *guest* runs on; its directory is in all paths of the
        guest, and is that of *there* at the destination.
    """

    def __init__(self, guest: Guest, here: Stand, there: Stand) -> None:
        self._leaving, self._arriving = guest, there.guest(guest.name)
        self._arriving.expect()
        guest.background("flusher </dev/null >/dev/null 2>&1", "pidof flusher")
        self._result: Future[None] = Future()
        socket = self._arriving.dir / "migration.sock"
        args = (here.directory, there.directory, there.libvirt.uri, socket)
        threading.Thread(target=self._run, args=args, daemon=True).start()

    def _run(self, here: Path, there: Path, uri: str, socket: Path) -> None:
        import libvirt  # type: ignore[import-untyped,unused-ignore]

        try:
            socket.unlink(missing_ok=True)
            text = self._leaving.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
            text = text.replace(f"{here}/", f"{there}/")
            parameters = {
                libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{socket}",
                libvirt.VIR_MIGRATE_PARAM_DEST_XML: text,
                libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: text,
                libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: BANDWIDTH_MIB,
            }
            flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
            flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
            self._leaving.domain.migrateToURI3(uri, parameters, flags)
            self._result.set_result(None)
        except BaseException as error:
            self._result.set_exception(error)

    def under_way(self) -> bool:
        """Tell whether some of the guest's memory was sent already.

        :raises Exception: it is over.
        """
        if self._result.done():
            raise RuntimeError(f"the migration is over: {self._result}")
        return int(self._leaving.domain.jobStats().get("memory_processed", 0)) > 0

    def wait(self, timeout: float = TIMEOUT_S) -> Guest:
        """Wait for its end and return the guest, where it is now.

        :raises libvirt.libvirtError: it failed, and the guest is where it was.
        """
        try:
            self._result.result(timeout)
        except BaseException:
            self._arriving.let_go()
            raise
        self._leaving.let_go()
        self._arriving.adopt()
        self._arriving.shell("killall flusher")
        return self._arriving
