#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that each check against hostile guests is tested: without it a test fails.

    .tox/functional/bin/python tests/functional/hostile/mutants.py [-k WORD] [--list]

By hand, as root, for it takes its time.  In a copy of the checkout one check after the
other is taken out of the C sources (:data:`MUTANTS`), the native module is built, and the
test that is named beside it is run.  The test must fail, and the daemon's death counts as
failing.  A table says which did; the exit status is that of the worst.

A new check gets its mutant here: the file, the text of the check as it stands there (once),
what would stand there without it, and the test.  The text is exact, so that a check that
is rewritten is looked at here, too.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "tests/functional/hostile"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".tox", ".venv", "build", "*.egg-info", "__pycache__", "corpus", "bench", "doc"
)
TEST_TIMEOUT = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One check, taken out.

    :ivar file: under ``native``.
    :ivar check: what stands there, exactly and once.
    :ivar without: what stands there instead.
    :ivar test: what must fail, as pytest names it, from this directory on.
    """

    file: str
    check: str
    without: str
    test: str

    @property
    def name(self) -> str:
        return f"{self.file}: {' '.join(self.check.split())[:60]}"


BAD = "test_bad_messages.py::"
TABLE = "test_memory_table.py::"
OUT = "test_transmit_ring.py::test_bad_chain"
INDIRECT = "test_transmit_ring.py::test_bad_indirect_table"
OFFLOAD = "test_transmit_ring.py::test_bad_offload"
NOT_AGREED = "test_transmit_ring.py::test_offload_that_was_offered_and_not_accepted"
IN = "test_receive_ring.py::test_bad_buffer"
RACE = "test_misbehaviour.py::test_values_that_change_between_two_reads"

MUTANTS = [
    # -- which messages may come
    Mutant(
        "vhost/message.c",
        "requests[request].name == NULL)\n\t\treturn NULL;",
        "requests[request].name == NULL)\n\t\treturn &requests[VHOST_SET_OWNER];",
        BAD + "test_unknown_request[0-running]",
    ),
    Mutant(
        "vhost/message.c",
        "requests[request].name == NULL)\n\t\treturn NULL;",
        "requests[request].name == NULL)\n\t\treturn &requests[VHOST_SET_OWNER];",
        BAD + "test_request_that_is_not_offered[POSTCOPY_LISTEN-0]",
    ),
    Mutant(
        "vhost/message.c",
        "(header->flags & VHOST_FLAG_VERSION) != VHOST_VERSION",
        "false",
        BAD + "test_flags_of_another_version_or_of_an_answer[0]",
    ),
    Mutant(
        "vhost/message.c",
        "(header->flags & VHOST_FLAG_REPLY) != 0",
        "false",
        BAD + "test_flags_of_another_version_or_of_an_answer[5]",
    ),
    Mutant(
        "vhost/message.c",
        "return header->size == sizes[r->payload];",
        "return header->size <= sizeof(struct vhost_mem_table);",
        BAD + "test_size_wrong_for_the_request[SET_FEATURES-long-running]",
    ),
    Mutant(
        "vhost/message.c",
        "return header->size == sizes[r->payload];",
        "return true;",
        BAD + "test_size_larger_than_any_payload[GET_FEATURES-65536]",
    ),
    Mutant(
        "vhost/message.c",
        " && header->size <= sizes[TABLE];",
        ";",
        BAD + "test_size_larger_than_any_payload[SET_MEM_TABLE-65536]",
    ),
    Mutant(
        "vhost/message.c",
        "(msg->payload.u64 & ~(uint64_t)VHOST_RING_NO_FD) < nb_rings &&",
        "",
        BAD + "test_ring_beyond_the_ports_queues[SET_VRING_CALL-255-running]",
    ),
    Mutant(
        "vhost/message.c",
        "nb_fds == ((msg->payload.u64 & VHOST_RING_NO_FD) == 0)",
        "nb_fds <= 1",
        BAD + "test_no_fd_where_one_is_due[SET_VRING_KICK]",
    ),
    Mutant(
        "vhost/message.c",
        "nb_fds == ((msg->payload.u64 & VHOST_RING_NO_FD) == 0)",
        "nb_fds <= 1",
        BAD + "test_fd_where_none_is_announced[SET_VRING_CALL]",
    ),
    Mutant(
        "vhost/message.c",
        "return msg->payload.state.index < nb_rings && nb_fds == 0;",
        "return nb_fds == 0;",
        BAD + "test_ring_beyond_the_ports_queues[SET_VRING_ENABLE-255-running]",
    ),
    Mutant(
        "vhost/message.c",
        "return msg->payload.state.index < nb_rings && nb_fds == 0;",
        "return msg->payload.state.index < nb_rings;",
        BAD + "test_fd_that_is_not_due[SET_VRING_ENABLE-running]",
    ),
    Mutant(
        "vhost/message.c",
        "return msg->payload.table.nb_regions <= VHOST_REGIONS_MAX &&",
        "return true ||",
        TABLE + "test_table_of_another_length_than_it_says[endless]",
    ),
    Mutant(
        "vhost/message.c",
        " &&\n\t\t       nb_fds == msg->payload.table.nb_regions;",
        ";",
        BAD + "test_memory_table_with_too_many_or_few_fds[0]",
    ),
    Mutant(
        "vhost/message.c",
        "case LOG:\n\t\treturn nb_fds == 1;",
        "case LOG:\n\t\treturn true;",
        BAD + "test_too_many_fds[SET_LOG_BASE-2]",
    ),
    Mutant(
        "vhost/message.c",
        "default:\n\t\treturn nb_fds == 0;",
        "default:\n\t\treturn true;",
        BAD + "test_fd_that_is_not_due[GET_FEATURES-running]",
    ),
    Mutant(
        "vhost/channel.c",
        "\t\t\t\tfit = false;\n",
        "",
        BAD + "test_full_memory_table_with_one_fd_more",
    ),
    Mutant(
        "vhost/channel.c",
        "if (c->nb_fds < VHOST_FDS_MAX) {",
        "if (true) {",
        BAD + "test_too_many_fds[GET_FEATURES-253]",
    ),
    Mutant(
        "vhost/foreign.c",
        "(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &not_at_all, sizeof(not_at_all));",
        "(void)not_at_all;",
        "test_foreign_files.py::test_socket_that_lingers[not_due]",
    ),
    Mutant(
        "core/patience.c",
        "if (!own.made)\n\t\tmake();",
        "",
        "test_foreign_files.py::test_interrupt_that_would_block[after]",
    ),
    Mutant(
        "vhost/device.c",
        "return fd >= 0 && !vhost_call_is_eventfd(fd);",
        "return false;",
        BAD + "test_ring_fd_of_the_wrong_kind[SET_VRING_CALL-pipe]",
    ),
    # -- what they say
    Mutant(
        "vhost/device.c",
        "if ((features & ~dev->offered) != 0)",
        "if (false)",
        BAD + "test_feature_that_was_not_offered[RING_PACKED-fresh]",
    ),
    Mutant(
        "vhost/device.c",
        "if ((features & ~PROTOCOL_FEATURES) != 0)",
        "if (false)",
        BAD + "test_protocol_feature_that_was_not_offered[bit_12-running]",
    ),
    Mutant(
        "vhost/device.c",
        "if (dev->running != 0 && (changed & ~BIT(VHOST_USER_F_LOG_ALL)) != 0)",
        "if (false)",
        BAD + "test_change_of_a_ring_that_runs[features]",
    ),
    Mutant(
        "vhost/device.c",
        "if (state.num == 0 || ",
        "if (",
        BAD + "test_ring_size[0-fresh]",
    ),
    Mutant(
        "vhost/device.c",
        "state.num > VHOST_RING_SIZE_MAX ||",
        "",
        BAD + "test_ring_size[65536-fresh]",
    ),
    Mutant(
        "vhost/device.c",
        "(state.num & (state.num - 1)) != 0 || ",
        "",
        BAD + "test_ring_size[257-fresh]",
    ),
    Mutant(
        "vhost/device.c",
        "(state.num & (state.num - 1)) != 0 || vhost_running(dev, state.index) != NULL)",
        "(state.num & (state.num - 1)) != 0)",
        BAD + "test_change_of_a_ring_that_runs[size]",
    ),
    Mutant(
        "vhost/device.c",
        "if (state.num > UINT16_MAX || ",
        "if (",
        BAD + "test_ring_base_beyond_16_bits[65536-fresh]",
    ),
    Mutant(
        "vhost/device.c",
        "if (state.num > UINT16_MAX || vhost_running(dev, state.index) != NULL)",
        "if (state.num > UINT16_MAX)",
        BAD + "test_change_of_a_ring_that_runs[base]",
    ),
    Mutant(
        "vhost/device.c",
        "if (state.num > 1)\n\t\treturn bad(VB_FAULT_BAD_MESSAGE);",
        "",
        BAD + "test_enabled_by_half[2]",
    ),
    Mutant(
        "vhost/device.c",
        "if (dev->memory != NULL && s->size != 0 && !vhost_locate(dev, &wanted, &where))",
        "if ((void)where, false)",
        BAD + "test_ring_outside_memory[running-used_above]",
    ),
    Mutant(
        "vhost/device.c",
        "return vhost_is_crooked(dev, i) ? bad(VB_FAULT_BAD_MESSAGE) : fine;",
        "return fine;",
        BAD + "test_ring_outside_memory[addresses_first-avail_above]",
    ),
    Mutant(
        "vhost/apply.c",
        "(uintptr_t)v->desc % 16 == 0 && ",
        "",
        BAD + "test_ring_outside_memory[running-descriptors_unaligned]",
    ),
    Mutant(
        "vhost/apply.c",
        "(uintptr_t)v->avail % 2 == 0 &&",
        "",
        BAD + "test_ring_outside_memory[running-avail_unaligned]",
    ),
    Mutant(
        "vhost/apply.c",
        " &&\n\t       (uintptr_t)v->used % 4 == 0;",
        ";",
        BAD + "test_ring_outside_memory[running-used_unaligned]",
    ),
    Mutant(
        "vhost/memory.c",
        "offset < r->offer.size && len <= r->offer.size - offset",
        "offset < r->offer.size",
        BAD + "test_ring_outside_memory[running-descriptors_across_the_end]",
    ),
    # -- memory
    Mutant(
        "vhost/memory.c",
        "if (n < 1 || ",
        "if (",
        TABLE + "test_bad_table[unconfirmed-no_region]",
    ),
    Mutant(
        "vhost/memory.c",
        "a->size == 0 || ",
        "",
        TABLE + "test_bad_table[unconfirmed-size_0]",
    ),
    Mutant(
        "vhost/memory.c",
        "wraps(a->gpa, a->size) || ",
        "",
        TABLE + "test_bad_table[unconfirmed-size_that_wraps_guest_addresses]",
    ),
    Mutant(
        "vhost/memory.c",
        "wraps(a->uva, a->size) ||",
        "",
        TABLE + "test_bad_table[unconfirmed-size_that_wraps_user_addresses]",
    ),
    Mutant(
        "vhost/memory.c",
        "wraps(a->uva, a->size) ||\n\t\t\twraps(a->offset, a->size))",
        "wraps(a->uva, a->size))",
        TABLE + "test_bad_table[unconfirmed-offset_that_wraps]",
    ),
    Mutant(
        "vhost/memory.c",
        "overlap(a->gpa, a->size, b->gpa, b->size) ||",
        "",
        TABLE + "test_bad_table[unconfirmed-overlap_in_guest_addresses]",
    ),
    Mutant(
        "vhost/memory.c",
        "overlap(a->uva, a->size, b->uva, b->size)",
        "false",
        TABLE + "test_bad_table[unconfirmed-overlap_in_user_addresses]",
    ),
    Mutant(
        "vhost/memory.c",
        "return -EFBIG;",
        ";",
        TABLE + "test_bad_table[unconfirmed-one_page_beyond_the_file]",
    ),
    Mutant(
        "vhost/memory.c",
        "(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);",
        "",
        TABLE + "test_memory_that_can_be_sealed_is",
    ),
    Mutant(
        "vhost/guard.c",
        "sigaction(SIGBUS, &action, &before);",
        "(void)action;",
        TABLE + "test_memory_is_truncated_under_traffic[transmit_buffer]",
    ),
    Mutant(
        "bricks/vhost_watch.c",
        "else if (vhost_device_lost_memory(&s->device))",
        "else if (false)",
        TABLE + "test_memory_is_truncated_under_traffic[whole]",
    ),
    Mutant(
        "vhost/device.c",
        "(dev->log != NULL && vhost_guard_lost(dev->log->guard))",
        "false",
        TABLE + "test_log_is_truncated_under_traffic",
    ),
    Mutant(
        "vhost/log.c",
        "size == 0 || ",
        "",
        TABLE + "test_log_that_does_not_fit_its_file[size_0_at_an_offset]",
    ),
    Mutant(
        "vhost/log.c",
        "size > LOG_MAX || offset > LOG_MAX",
        "false",
        TABLE + "test_log_that_does_not_fit_its_file[size_that_wraps]",
    ),
    Mutant(
        "vhost/log.c",
        "size + offset <= (uint64_t)st.st_size",
        "true",
        TABLE + "test_log_that_does_not_fit_its_file[size_beyond_the_file]",
    ),
    Mutant(
        "vhost/log.h",
        "page <= last && page < log->nb_pages",
        "page <= last",
        TABLE + "test_log_that_ends_before_the_memory[35184372088832]",
    ),
    # -- rings
    Mutant(
        "vhost/chain.c",
        "if (i >= w.entries)",
        "if (false)",
        OUT + "[next_just_outside_the_ring]",
    ),
    Mutant(
        "vhost/chain.h",
        "if (unlikely(head >= v->size))",
        "if (false)",
        "test_transmit_ring.py::test_head_outside_the_ring",
    ),
    Mutant(
        "vhost/chain.c",
        "if (i >= w.entries)",
        "if (false)",
        INDIRECT + "[next_just_outside_the_table]",
    ),
    Mutant(
        "vhost/chain.c",
        "if (unlikely(len == 0) && c->nb_empty++ == VHOST_CHAIN_MAX)",
        "if (false)",
        "test_receive_ring.py::test_buffers_of_nothing_but_work",
    ),
    Mutant(
        "vhost/chain.c",
        "if (c->nb_pieces == VHOST_CHAIN_MAX)",
        "if (false)",
        "test_transmit_ring.py::test_chain_longer_than_any",
    ),
    Mutant(
        "vhost/chain.c",
        "if (c->nb_pieces == VHOST_CHAIN_MAX)",
        "if (false)",
        "test_receive_ring.py::test_frame_over_more_pieces_than_any",
    ),
    Mutant(
        "vhost/chain.c",
        "!v->indirect || ",
        "",
        OUT + "[indirect_not_negotiated]",
    ),
    Mutant("vhost/chain.c", "w->nested || ", "", INDIRECT + "[nested]"),
    Mutant(
        "vhost/chain.c",
        "(d->flags & VRING_DESC_F_NEXT) != 0 || ",
        "",
        INDIRECT + "[with_a_next]",
    ),
    Mutant("vhost/chain.c", "len == 0 ||\n", "\n", INDIRECT + "[table_of_nothing]"),
    Mutant(
        "vhost/chain.c",
        "len % sizeof(struct vring_desc) != 0)",
        "false)",
        INDIRECT + "[table_of_17_bytes]",
    ),
    Mutant(
        "vhost/chain.c",
        "if (table == NULL || len != d->len)",
        "if (table == NULL)",
        INDIRECT + "[table_across_the_end]",
    ),
    Mutant(
        "vhost/chain.c",
        "\t\tif (at == NULL)\n\t\t\treturn VB_DROP_DESC_MEMORY;\n",
        "",
        OUT + "[buffer_above_the_memory]",
    ),
    Mutant(
        "vhost/memory.h",
        "\t\t\tif (left < *len)\n\t\t\t\t*len = left;\n",
        "\t\t\t(void)left;\n",
        OUT + "[buffer_across_the_end]",
    ),
    Mutant(
        "vhost/memory.h",
        "if (offset < r->offer.size) {",
        "if (true) {",
        OUT + "[buffer_below_the_memory]",
    ),
    Mutant(
        "vhost/chain.c",
        "if (((d.flags & VRING_DESC_F_WRITE) != 0) != writable)",
        "if (false)",
        OUT + "[write_only]",
    ),
    Mutant(
        "vhost/chain.c",
        "if (((d.flags & VRING_DESC_F_WRITE) != 0) != writable)",
        "if (false)",
        IN + "[read_only-mergeable]",
    ),
    Mutant(
        "vhost/ring.c",
        "if (unlikely(chain->bytes <= v->header_len))",
        "if (chain->bytes < v->header_len)",
        OUT + "[header_only]",
    ),
    Mutant(
        "vhost/ring.c",
        "if (unlikely(chain->bytes <= v->header_len))",
        "if (false)",
        OUT + "[header_cut_short]",
    ),
    Mutant(
        "vhost/ring.c",
        "if (unlikely(chain->bytes - v->header_len > VHOST_FRAME_MAX))",
        "if (false)",
        OUT + "[frame_of_70000_bytes]",
    ),
    Mutant(
        "vhost/ring.c",
        "bool out_of_step = n > v->size;",
        "bool out_of_step = false;",
        "test_transmit_ring.py::test_available_index_jumps[half_of_all]",
    ),
    Mutant(
        "vhost/ring.c",
        "bool out_of_step = n > v->size;",
        "bool out_of_step = false;",
        "test_receive_ring.py::test_available_index_jumps[back_by_one]",
    ),
    Mutant(
        "vhost/ring.c",
        "if (room->why == VHOST_CHAIN_OK && room->chain.bytes - before < v->header_len)",
        "if (false)",
        IN + "[eleven_bytes-whole]",
    ),
    Mutant(
        "vhost/ring.c",
        "room->why = VB_DROP_TOO_BIG;\n\treturn true;",
        "return true;",
        "test_receive_ring.py::test_buffer_too_small_for_the_frame",
    ),
    # -- what a frame asks to be done
    Mutant(
        "core/offload.c",
        "if (gso && (tso_of(hdr->gso_type) & agreed) == 0)",
        "if (false)",
        OFFLOAD + "[gso_of_udp]",
    ),
    Mutant(
        "core/offload.c",
        "if (gso && (tso_of(hdr->gso_type) & agreed) == 0)",
        "if (gso && tso_of(hdr->gso_type) == 0)",
        NOT_AGREED + "[HOST_TSO4]",
    ),
    Mutant(
        "core/offload.c",
        "if (gso && (tso_of(hdr->gso_type) & agreed) == 0)",
        "if (gso && tso_of(hdr->gso_type) == 0)",
        NOT_AGREED + "[HOST_TSO6]",
    ),
    Mutant(
        "core/offload.c",
        "if (gso && (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0)",
        "if (false)",
        OFFLOAD + "[gso_without_csum]",
    ),
    Mutant(
        "core/offload.c",
        "if ((agreed & VB_OFFLOAD_CSUM) == 0)",
        "if (false)",
        NOT_AGREED + "[CSUM_alone]",
    ),
    Mutant(
        "core/offload.c",
        "if (!find(&h, m))",
        "if (!find(&h, m) && false)",
        OFFLOAD + "[gso_of_a_fragment]",
    ),
    Mutant(
        "core/offload.c",
        "hdr->csum_start != h.l4",
        "false",
        OFFLOAD + "[csum_from_elsewhere]",
    ),
    Mutant(
        "core/offload.c",
        "\t\thdr->csum_offset != (",
        "\t\tfalse && hdr->csum_offset != (",
        OFFLOAD + "[csum_into_the_port]",
    ),
    Mutant(
        "core/offload.c",
        "h->l4 >= h->ip + sizeof(struct rte_ipv4_hdr)",
        "true",
        OFFLOAD + "[gso_ip_header_of_16_bytes]",
    ),
    Mutant(
        "core/offload.c",
        "ip[0] >> 4 == 4",
        "true",
        OFFLOAD + "[gso_ipv4_of_version_6]",
    ),
    Mutant(
        "core/offload.c",
        "h->p[h->ip] >> 4 != 6",
        "false",
        OFFLOAD + "[gso_ipv6_of_version_4]",
    ),
    Mutant(
        "core/offload.c",
        "(vb_load16(ip + 6) & (RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) == 0",
        "true",
        OFFLOAD + "[gso_of_a_fragment]",
    ),
    Mutant(
        "core/offload.c",
        "h->protocol != IPPROTO_TCP || h->l4 + sizeof",
        "h->l4 + sizeof",
        OFFLOAD + "[csum_of_icmp]",
    ),
    Mutant(
        "core/offload.c",
        "return h->end >= h->l4 + sizeof(struct rte_tcp_hdr) && h->end <= h->seen;",
        "return h->end <= h->seen;",
        OFFLOAD + "[gso_tcp_header_of_16_bytes]",
    ),
    Mutant(
        "core/offload.c",
        "return h->end >= h->l4 + sizeof(struct rte_tcp_hdr) && h->end <= h->seen;",
        "return h->end >= h->l4 + sizeof(struct rte_tcp_hdr);",
        OFFLOAD + "[csum_with_a_tcp_header_beyond_the_frame]",
    ),
    Mutant(
        "core/offload.c",
        "\t\treturn h->end <= h->seen;",
        "\t\treturn true;",
        OFFLOAD + "[csum_into_a_udp_header_cut]",
    ),
    Mutant(
        "core/offload.c",
        "type != RTE_ETHER_TYPE_IPV4 && type != RTE_ETHER_TYPE_IPV6",
        "false",
        OFFLOAD + "[csum_of_arp]",
    ),
    Mutant(
        "core/offload.c",
        "h->protocol != IPPROTO_TCP || h->version",
        "h->version",
        OFFLOAD + "[gso_of_a_udp_packet]",
    ),
    Mutant(
        "core/offload.c",
        "|| h->version != (tso == VB_OFFLOAD_TSO4 ? 4 : 6)",
        "",
        OFFLOAD + "[gso_tcpv6_of_ipv4]",
    ),
    Mutant(
        "core/offload.c",
        "|| h->version != (tso == VB_OFFLOAD_TSO4 ? 4 : 6)",
        "",
        OFFLOAD + "[gso_tcpv4_of_ipv6]",
    ),
    Mutant(
        "core/offload.c",
        "if (payload > (uint32_t)hdr->gso_size * VB_OFFLOAD_SEGMENTS_MAX)",
        "if (false)",
        OFFLOAD + "[gso_of_513_segments]",
    ),
    Mutant(
        "core/offload.c",
        "if (payload > (uint32_t)hdr->gso_size * VB_OFFLOAD_SEGMENTS_MAX)",
        "if (false)",
        OFFLOAD + "[gso_of_size_0]",
    ),
    Mutant(
        "core/offload.c",
        "if (h->end - h->ip + hdr->gso_size > UINT16_MAX)",
        "if (false)",
        OFFLOAD + "[gso_longer_than_ip_can_say]",
    ),
    # -- what is read twice may be two things
    Mutant(
        "vhost/ring.c",
        "o->why = receive_one(v, &pieces, &o->chain, fresh[i]);",
        "pieces.at[o->chain.first].len = vhost_chain_fetch(&v->desc[o->head]).len,\n"
        "\t\t\to->why = receive_one(v, &pieces, &o->chain, fresh[i]);",
        RACE + "[length]",
    ),
    Mutant(
        "vhost/ring.c",
        "o->why = receive_one(v, &pieces, &o->chain, fresh[i]);",
        "pieces.at[o->chain.first].at += vhost_chain_fetch(&v->desc[o->head]).addr -\n"
        "\t\t\t\tpieces.at[o->chain.first].gpa,\n"
        "\t\t\to->why = receive_one(v, &pieces, &o->chain, fresh[i]);",
        RACE + "[address]",
    ),
    Mutant(
        "vhost/chain.c",
        "why = enter(&w, v, &d);",
        "why = enter(&w, v, &d);\n"
        "\t\t\tw.entries = vhost_chain_fetch(&v->desc[0]).len / sizeof(d);",
        RACE + "[table_length]",
    ),
    # -- who takes too much
    Mutant(
        "bricks/vhost_watch.c",
        "if (s->channel.since != 0 && now - s->channel.since > MESSAGE_MAX)",
        "if (false)",
        "test_stalls.py::test_message_that_is_not_finished[header_only]",
    ),
    Mutant(
        "vhost/channel.c",
        "\t\tif (c->got == 0)\n\t\t\tc->since = vb_monotonic_ns();",
        "\t\tc->since = vb_monotonic_ns();",
        "test_stalls.py::test_trickle_is_no_way_around_the_limit",
    ),
    Mutant(
        "vhost/channel.c",
        "send(c->fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL)",
        "send(c->fd, msg, len, MSG_NOSIGNAL)",
        "test_stalls.py::test_answers_that_are_never_read",
    ),
    Mutant(
        "bricks/vhost_watch.c",
        "if (fresh >= VHOST_OFFENCE)",
        "if (false)",
        "test_misbehaviour.py::test_guest_that_offers_nothing_else",
    ),
    Mutant(
        "bricks/vhost_watch.c",
        "vhost_device_mute(&s->device, false);",
        "",
        "test_misbehaviour.py::test_guest_that_behaves_again",
    ),
    Mutant(
        "bricks/vhost_listen.c",
        "if (l->tokens < 1) {",
        "if (false) {",
        "test_connections.py::test_connect_and_close_in_a_tight_loop",
    ),
    Mutant(
        "bricks/vhost_session.c",
        "(port->config.client ? 1 : VB_SESSIONS_MAX)",
        "4096",
        "test_connections.py::test_2000_connections_kept_open",
    ),
    Mutant(
        "bricks/vhost_session.c",
        "s->refused++ == REFUSED_LIMIT",
        "false",
        TABLE + "test_bad_tables_without_end",
    ),
    Mutant(
        "bricks/vhost_session.c",
        "c->starts++ < STARTS_PER_SECOND",
        "true",
        "test_negotiation.py::test_rings_that_start_and_stop_without_end",
    ),
    Mutant(
        "vhost/ring.c",
        "vb_count(&ring->refused, VHOST_OFFENCE);",
        "",
        "test_foreign_files.py::test_interrupt_that_would_block[before]",
    ),
    Mutant(
        "bricks/vhost_connect.c",
        "(ready ? 0 : backoff(UNREADY_MIN, UNREADY_MAX, port->unready))",
        "(ready ? 0 : 1)",
        "test_connections.py::test_frontend_that_accepts_and_closes_at_once",
    ),
    Mutant(
        "bricks/vhost_listen.c",
        "if (vb_nb_peer_uids == 0)",
        "if (true)",
        "test_connections.py::test_peer_of_another_user",
    ),
    Mutant(
        "bricks/vhost_listen.c",
        "if (vb_nb_peer_uids == 0)",
        "if (true)",
        "test_connections.py::test_peer_of_another_user_listens",
    ),
]


class Build:
    """The native module of a checkout, built file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "build" / "mutants"
        self.objects.mkdir(parents=True, exist_ok=True)
        sys.path.insert(0, str(root / "native"))
        os.chdir(root)
        import build_ffi

        self.recipe: Any = build_ffi
        self.wrapper = self.objects / "_native.c"
        build_ffi.ffibuilder.emit_c_code(str(self.wrapper))

    def make(self) -> None:
        """Compile what is older than its sources, and link."""
        headers = max(p.stat().st_mtime_ns for p in self.root.glob("native/*/*.h"))
        sources = [self.root / p for p in self.recipe.sources()] + [self.wrapper]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda source: self._compile(source, headers), sources))
        out = self.root / "vhost_brick_plugin" / "datapath" / "_native.abi3.so"
        libraries = self._kwargs["extra_link_args"]
        self._run(["cc", "-shared", "-o", str(out), *map(str, objects), *libraries])

    @property
    def _kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = self.recipe.ffibuilder._assigned_source[3]
        return kwargs

    def _compile(self, source: Path, headers: int) -> Path:
        out = self.objects / f"{source.parent.name}-{source.stem}.o"
        newest = max(source.stat().st_mtime_ns, headers)
        if not out.exists() or out.stat().st_mtime_ns < newest:
            includes = [*self._kwargs["include_dirs"], sysconfig.get_paths()["include"]]
            args = ["-fPIC", "-O2", *self._kwargs["extra_compile_args"]]
            args += [f"-I{path}" for path in includes]
            self._run(["cc", *args, "-c", "-o", str(out), str(source)])
        return out

    @staticmethod
    def _run(command: Sequence[str]) -> None:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def run_tests(root: Path, *tests: str) -> bool:
    """Run tests in *root*; tell whether they passed.

    :raises RuntimeError: there is no such test, or pytest itself failed.
    """
    # Before the checkout that this Python has installed, for the daemon as well.
    env = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=60"]
    done = subprocess.run(
        [*command, *(f"{HOSTILE}/{test}" for test in tests)],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT * len(tests),
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


@contextlib.contextmanager
def applied(root: Path, mutant: Mutant) -> Iterator[None]:
    """Have the check taken out of the copy in *root* for a while.

    :raises RuntimeError: it is not there, or more than once.
    """
    path = root / "native" / mutant.file
    text = path.read_text()
    if text.count(mutant.check) != 1:
        raise RuntimeError(f"{text.count(mutant.check)} times in the source, not once")
    path.write_text(text.replace(mutant.check, mutant.without))
    try:
        yield
    finally:
        path.write_text(text)


def judge(root: Path, build: Build, mutant: Mutant) -> str:
    """Return "killed", "SURVIVED", or what went wrong."""
    try:
        with applied(root, mutant):
            build.make()
            return "SURVIVED" if run_tests(root, mutant.test) else "killed"
    except (RuntimeError, subprocess.SubprocessError) as e:
        return f"BROKEN: {e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-k", metavar="WORD", default="", help="only mutants or tests with WORD")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if args.k in m.name + m.test]
    if args.list:
        print(*(f"{m.name}\n    {m.test}" for m in chosen), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="vb-mutants-") as directory:
        root = Path(directory) / "checkout"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        build = Build(root)
        build.make()
        if not run_tests(root, *{m.test for m in chosen}):
            sys.exit("With all checks in place, too, a test fails: nothing can be told from that.")
        verdicts = []
        for number, mutant in enumerate(chosen, 1):
            began = time.monotonic()
            verdicts.append(judge(root, build, mutant))
            took = time.monotonic() - began
            print(f"{number:3}/{len(chosen)} {took:4.0f} s  {verdicts[-1]:8}  {mutant.name}")
            print(f"                      {mutant.test}", flush=True)
    bad = [m for m, verdict in zip(chosen, verdicts, strict=True) if verdict != "killed"]
    print(f"{len(chosen) - len(bad)} of {len(chosen)} checks are tested")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
