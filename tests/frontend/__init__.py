# SPDX-License-Identifier: Apache-2.0
"""The driver side of vhost-user: what tests and benchmarks use as VMs."""
