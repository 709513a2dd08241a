# SPDX-License-Identifier: Apache-2.0
"""Filter expressions into programs, by the real libpcap."""

from __future__ import annotations

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.cli import bpf
from vhost_brick_plugin.probes import MAX_INSTRUCTIONS, Instruction

LOAD_HALF, JUMP_IF_EQUAL, RETURN = 0x28, 0x15, 0x06


def test_it_is_what_tcpdump_makes_of_it() -> None:
    # As "tcpdump -y EN10MB -ddd arp" prints it.
    assert bpf.compile("arp") == (
        Instruction(code=LOAD_HALF, jt=0, jf=0, k=12),
        Instruction(code=JUMP_IF_EQUAL, jt=0, jf=1, k=0x806),
        Instruction(code=RETURN, jt=0, jf=0, k=bpf.WHOLE_PACKET),
        Instruction(code=RETURN, jt=0, jf=0, k=0),
    )


def test_an_expression_that_is_none() -> None:
    with pytest.raises(
        errors.InvalidParams, match=r"'tcp prot 80' is no filter: .*syntax error"
    ) as e:
        bpf.compile("tcp prot 80")
    assert "pcap-filter(7)" in e.value.hint


def test_what_can_never_be() -> None:
    with pytest.raises(errors.InvalidParams, match="rejects all packets"):
        bpf.compile("arp and ip")


def test_a_program_that_is_too_long() -> None:
    hosts = " or ".join(f"host 10.0.{i}.1" for i in range(200))
    with pytest.raises(errors.InvalidParams, match=f"{MAX_INSTRUCTIONS} are possible"):
        bpf.compile(hosts)


def test_without_libpcap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "LIBRARIES", ("libpcap-that-is-not.so",))
    with pytest.raises(errors.ProgramError, match="there is no libpcap") as e:
        bpf.compile("arp")
    assert "libpcap0.8" in e.value.hint
