# SPDX-License-Identifier: Apache-2.0
"""Images of the lab's guest, for Nova: a kernel, a ramdisk, and disks that name both."""

from __future__ import annotations

import datetime
import io
from typing import Any

from tools.lab.lab import GUEST_KERNEL_OPTIONS, TCG_KERNEL_OPTIONS, GuestImage

DISK_BYTES = 1 << 20


class Images:
    """Registers images with Nova's double of Glance.

    :param glance: the ``GlanceFixture``.
    """

    def __init__(self, glance: Any, guest: GuestImage) -> None:
        self._glance = glance
        self._boot = {
            "kernel_id": self._add("kernel", "aki", guest.kernel.read_bytes()),
            "ramdisk_id": self._add("ramdisk", "ari", guest.initramfs.read_bytes()),
        }

    def add_disk(self, addresses: list[str]) -> str:
        """Make the image of a guest that has these addresses, one a card; return its id.

        The disk is empty: the guest lives in its ramdisk.
        """
        words = [GUEST_KERNEL_OPTIONS, TCG_KERNEL_OPTIONS]
        words += [f"vb.ip{number or ''}={address}/24" for number, address in enumerate(addresses)]
        properties = self._boot | {"os_command_line": " ".join(words)}
        return self._add("disk", "raw", bytes(DISK_BYTES), **properties)

    def _add(self, name: str, format: str, data: bytes, **properties: str) -> str:
        now = datetime.datetime.now(datetime.UTC)
        image = {
            "name": name,
            "disk_format": format,
            "container_format": "bare" if format == "raw" else format,
            "size": len(data),
            "min_ram": 0,
            "min_disk": 0,
            "is_public": True,
            "visibility": "public",
            "protected": False,
            "deleted": False,
            "deleted_at": None,
            "created_at": now,
            "updated_at": now,
            "tags": [],
            "properties": properties,
        }
        return str(self._glance.create(None, image, io.BytesIO(data))["id"])
