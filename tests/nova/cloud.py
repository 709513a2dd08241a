# SPDX-License-Identifier: Apache-2.0
"""Nova in this process: API, scheduler, conductor, placement and compute.

Nova is the one of the wheel, unmodified, and so is what puts its services together:
the fixtures of its own functional tests (``nova.tests``).  Those fixtures fake the
hypervisor; here it is real.

Real: all of Nova's code, its LibvirtDriver with its image backend, its policies, its
databases (SQLite files), placement, os-vif, our plugin loaded by its entry point, the
options of a nova.conf that Nova parses, libvirt, QEMU and vhost-brickd.

Stubbed, and why:

* *Keystone and HTTP.*  Requests go to Nova's and placement's WSGI applications without a
  socket (wsgi-intercept), and their callers are believed (``OSAPIFixture``,
  ``PlacementFixture``).  Both are before anything that concerns an interface.
* *RabbitMQ.*  oslo.messaging's in-process driver, asynchronous as the real one
  (``RPCFixture``).
* *Neutron.*  A double, which the caller gives; see ``neutron_double.py``.
* *Glance.*  Its image service is a dictionary (``GlanceFixture``); the images in it are
  real, and Nova downloads, inspects and converts them as ever.
* *privsep.*  What is privileged runs in this process, which is root's
  (``PrivsepFixture``), instead of in a helper started by sudo.
* *Threads that end with a process.*  A nova-compute that stops here leaves its process
  behind, so :meth:`Cloud.stop_compute` ends what would end with it, and there is one
  thread for libvirt's events, not one a nova-compute.

Undone, because here the hypervisor and its host are meant: the poison that Nova's
fixtures put into libvirt's event thread, ``/sys``, ``os.uname`` and the list of network
interfaces, and the fake identity of the compute node.
"""

# ruff: noqa: E402 -- how Nova's threads are must be settled before anything imports it

from __future__ import annotations

import builtins
import glob
import os
import os.path
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "true"

from nova import monkey_patch

# As nova-compute starts, and before anything that takes eventlet where it finds it.
monkey_patch.patch()

import fixtures
import libvirt  # noqa: F401 -- Nova's fixtures forbid to import it later
import os_vif
import psutil
from nova import test
from nova.conf import CONF
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.fixtures import PlacementFixture
from nova.virt.libvirt import host as libvirt_host

MICROVERSION = "2.90"

UNPOISONED = {
    "builtins.open": builtins.open,
    "glob.glob": glob.glob,
    "glob.iglob": glob.iglob,
    "os.listdir": os.listdir,
    "os.path.isdir": os.path.isdir,
    "os.uname": os.uname,
    "psutil.net_if_addrs": psutil.net_if_addrs,
    "nova.virt.libvirt.host.Host._init_events": libvirt_host.Host._init_events,
}
"""What Nova's fixtures replace and we need, as it was before they did."""


class Cloud(test.TestCase):  # type: ignore[misc]
    """The services, from ``setUp()`` to ``doCleanups()``; a TestCase without tests.

    :param conf_files: nova.conf, and what shall be read after it.
    :param make_neutron: called with the cloud, returns the fixture that lets Nova reach
        Neutron; it is :attr:`neutron` afterwards.
    :ivar api: Nova's API, as an administrator.
    :ivar application: the same as a WSGI application.
    """

    __test__ = False
    STUB_COMPUTE_ID = False

    def __init__(
        self, conf_files: Sequence[Path], make_neutron: Callable[[Any], fixtures.Fixture]
    ) -> None:
        super().__init__("run")
        self._conf_files = [str(path) for path in conf_files]
        self._make_neutron = make_neutron

    def setUp(self) -> None:
        super().setUp()
        # At the end a TestCase forgets what has no underscore, and we want its log.
        self._logger = self.stdlog.logger
        for name, function in UNPOISONED.items():
            self.useFixture(fixtures.MonkeyPatch(name, function))
        self._threads = self.useFixture(_ThreadsThatEnd())
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.useFixture(nova_fixtures.RealPolicyFixture())
        self._read_conf()
        self.placement = self.useFixture(PlacementFixture()).api
        self.neutron = self.useFixture(self._make_neutron(self))
        self.glance = self.useFixture(nova_fixtures.GlanceFixture(self))
        os_vif.initialize()
        for name in ("conductor", "scheduler"):
            self.addCleanup(self.start_service(name).stop)
        self.start_compute()
        self.addCleanup(self.stop_compute)
        osapi = self.useFixture(nova_fixtures.OSAPIFixture())
        self.application = osapi.app()
        self.api = osapi.admin_api
        self.api.microversion = MICROVERSION

    def _read_conf(self) -> None:
        CONF([], project="nova", default_config_files=self._conf_files)

    def start_compute(self) -> None:
        """Start nova-compute; what stops it is raised."""
        try:
            self.compute = self.start_service("compute", host=CONF.host)
        except BaseException:
            self._threads.end()
            raise

    def stop_compute(self) -> None:
        """Stop nova-compute, and end what in a process of its own would end with it."""
        self.compute.stop()
        self._threads.end()

    @property
    def log(self) -> str:
        """What all services logged."""
        return str(self._logger.output)


class _ThreadsThatEnd(fixtures.Fixture):  # type: ignore[misc]
    """Lets a nova-compute end without its process.

    The libvirt event loop belongs to the process, so it runs in one thread, once.
    """

    def _setUp(self) -> None:
        self._hosts: list[Any] = []
        handler = libvirt_host._ThreadingLibvirtEventHandler
        start = handler.start
        started = threading.Event()

        def start_once(handler: Any) -> None:
            if not started.is_set():
                start(handler)
            started.set()

        def wait_for_loss(host: Any) -> None:
            self._hosts.append(host)
            while host in self._hosts:
                host._dispatch_conn_event()

        self.useFixture(fixtures.MockPatchObject(handler, "start", start_once))
        self.useFixture(
            fixtures.MockPatchObject(libvirt_host.Host, "_conn_event_thread", wait_for_loss)
        )

    def end(self) -> None:
        """Close libvirt's connections, and end the threads that wait for their loss."""
        while self._hosts:
            host = self._hosts.pop()
            host._conn_event_handler_queue.put(lambda: None)
            host._event_handler._lifecycle_event_handler = lambda _event: None
            connection, host._wrapped_conn = host._wrapped_conn, None
            if connection is not None:
                connection.close()
