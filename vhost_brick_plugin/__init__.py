# SPDX-License-Identifier: Apache-2.0
"""A DPDK vhost brick for libvirt and OpenStack that survives its own restart."""
