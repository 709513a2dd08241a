# SPDX-License-Identifier: Apache-2.0
"""nova.conf: the one of doc/source/openstack.rst, and after it what belongs to this machine."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import chapter

QUEUE_SIZE = 512
"""Descriptors in a ring: not QEMU's default, so that one can tell it was passed on."""

MACHINE = """
[DEFAULT]
host = {host}
state_path = {nova}
instances_path = {nova}/instances
compute_driver = libvirt.LibvirtDriver
my_ip = 127.0.0.1
allow_resize_to_same_host = true
# The lab's guest does not hear the power button.
shutdown_timeout = 0

[scheduler]
# There is no other host to try, and the reason of a failure is kept.
max_attempts = 1

[libvirt]
connection_uri = {uri}
virt_type = qemu
cpu_mode = none
images_type = raw
rx_queue_size = {queue_size}
tx_queue_size = {queue_size}

[os_vif_vhostuser_fp]
api_socket = {api_socket}
state_dir = {state_dir}

[vnc]
enabled = false

[wsgi]
api_paste_config = {prefix}/etc/nova/api-paste.ini
"""


def write(
    directory: Path, *, host: str, uri: str, api_socket: Path, state_dir: Path, more: str = ""
) -> list[Path]:
    """Write both files under *directory*, which gets all of Nova's, and return their paths.

    :param uri: libvirt's.
    :param more: further options of the machine.
    """
    nova = directory / "nova"
    (nova / "instances").mkdir(parents=True)
    machine = nova / "machine.conf"
    text = MACHINE.format(
        host=host,
        nova=nova,
        uri=uri,
        api_socket=api_socket,
        state_dir=state_dir,
        queue_size=QUEUE_SIZE,
        prefix=sys.prefix,
    )
    machine.write_text(text + more)
    return [chapter.write_files(directory)["/etc/nova/nova.conf"], machine]
