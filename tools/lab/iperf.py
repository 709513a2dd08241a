# SPDX-License-Identifier: Apache-2.0
"""How much goes from one guest to another, by iperf3, and whether it arrives as it was sent."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.lab.lab import Guest, GuestImage, LabError
from tools.lab.stand import Stand, wait_answers

SCRIPT = Path(__file__).resolve().parent / "guest" / "iperf.sh"

NO_OFFLOADS = tuple(
    word
    for flag in (
        *(f"host.{name}" for name in ("csum", "gso", "tso4", "tso6", "ecn", "ufo")),
        *(f"guest.{name}" for name in ("csum", "tso4", "tso6", "ecn", "ufo")),
    )
    for word in ("--offload", f"{flag}=off")
)
"""Words for ``domain interface-xml``: a network card that does nothing for its driver."""

IPERF_PORT, FILE_PORT = 5201, 5000

SLICE = 1200
"""Bytes that come over a guest's serial line at once."""

MEMORY_MIB = 256

BOOT_TIMEOUT_S = 120.0


def build_image(cache_dir: Path) -> GuestImage:
    """Build the guest with iperf3, or find it built already."""
    if subprocess.run([SCRIPT, cache_dir], check=False).returncode != 0:
        raise LabError(f"{SCRIPT} failed; what it wrote above says why")
    directory = cache_dir.resolve()
    return GuestImage(directory / "vmlinuz", directory / "initramfs-iperf.cpio.gz")


@dataclass(frozen=True)
class End:
    """A guest that can send and receive.

    :ivar number: the last part of its addresses.
    """

    guest: Guest
    number: int

    def address(self, version: int) -> str:
        return f"10.0.0.{self.number}" if version == 4 else f"fd00::{self.number}"

    # -- what it says

    def read(self, path: str) -> str:
        """Return what a file in the guest holds."""
        size = int(self.guest.shell(f"wc -c <{path}"))
        parts = (
            self.guest.shell(f"tail -c +{at + 1} {path} | head -c {SLICE}")
            for at in range(0, size, SLICE)
        )
        return "".join(parts)

    def errors(self) -> dict[str, int]:
        """Return how many packets with a wrong checksum it got, by kind."""
        counters: dict[str, int] = {}
        lines = self.guest.shell("grep -E '^(Ip|Tcp|Udp):' /proc/net/snmp").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            kind, *keys = names.split()
            counters |= {
                kind + key: int(value) for key, value in zip(keys, values.split()[1:], strict=True)
            }
        lines = self.guest.shell("grep InCsumErrors /proc/net/snmp6").splitlines()
        counters |= {line.split()[0]: int(line.split()[1]) for line in lines}
        return {
            key: value
            for key, value in counters.items()
            if key.endswith("InCsumErrors") or key == "Ip:InHdrErrors"
        }

    # -- what it does

    def _listen(self, command: str, port: int) -> None:
        listens = f"grep -q ':{port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6"
        self.guest.background(f"{command} >/dev/null 2>&1", listens)

    def _run(self, command: str, timeout: float) -> None:
        """Run a command that may take longer than the serial line waits."""
        self.guest.shell("rm -f /tmp/done")
        self.guest.background(f"sh -c '{command}; echo $? >/tmp/done'", "true")
        deadline = time.monotonic() + timeout
        while not self.guest.shell("cat /tmp/done 2>/dev/null || true"):
            if time.monotonic() > deadline:
                raise LabError(f"{self.guest.name}: {command!r} has not ended")
            time.sleep(0.1)

    def iperf(self, to: "End", version: int, *options: str, seconds: int) -> dict[str, Any]:
        """Send for so many seconds; returns what iperf3 says of the end."""
        to._listen("iperf3 -s -1", IPERF_PORT)
        words = f"iperf3 -c {to.address(version)} -i 0 -t {seconds} -J {' '.join(options)}"
        self._run(f"{words} >/tmp/iperf.json 2>/tmp/iperf.err", seconds + 60)
        result = json.loads(self.read("/tmp/iperf.json"))
        if "error" in result:
            raise LabError(f"{self.guest.name}: {result['error']}")
        end: dict[str, Any] = result["end"]
        return end

    def copy(self, to: "End", version: int, size_mib: int) -> tuple[str, str]:
        """Send random bytes over TCP; returns their sums here and there."""
        # It hangs up once it has nothing to say, so it waits to be told something.
        to._listen(f"sh -c 'sleep 300 | nc -l -p {FILE_PORT} >/tmp/got'", FILE_PORT)
        # Two kinds of bytes: those that nothing can guess, and long runs of the same.
        self._run(
            f"dd if=/dev/urandom of=/tmp/sent bs=64k count={size_mib * 8} 2>/dev/null; "
            f"dd if=/dev/zero bs=64k count={size_mib * 8} 2>/dev/null >>/tmp/sent; "
            f"nc {to.address(version)} {FILE_PORT} </tmp/sent",
            120,
        )
        to.guest.shell("while pidof nc >/dev/null; do usleep 10000; done; killall sleep")
        sent, got = (
            end.guest.shell(f"sha256sum /tmp/{name}").split()[0]
            for end, name in ((self, "sent"), (to, "got"))
        )
        for end, name in ((self, "sent"), (to, "got")):
            end.guest.shell(f"rm /tmp/{name}")
        return sent, got


def boot(stand: Stand, image: GuestImage, cards: Sequence[Sequence[str]]) -> list[End]:
    """Boot a guest for each card, on a port of its own; *cards* are words for our command.

    Returns when each has answers from the next one.
    """
    ends = []
    for number, tuning in enumerate(cards, 1):
        name = f"iperf{number}"
        stand.create_port(name, "client")
        guest = stand.guest(
            name,
            [name],
            tuning=tuning,
            image=image,
            ip=f"10.0.0.{number}/24",
            peer=f"10.0.0.{number % len(cards) + 1}",
            memory_mib=MEMORY_MIB,
            kernel_options="ipv6.disable=0",
        )
        ends.append(End(guest, number))
        guest.start()
    for end in ends:
        end.guest.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)
        # Pings would only take turns from what is measured.
        end.guest.command("interval 1000")
        end.guest.shell("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad")
        end.guest.shell(f"ip -6 addr add {end.address(6)}/64 dev eth0")
    for end in ends:
        wait_answers(end.guest, count=1)
    return ends
