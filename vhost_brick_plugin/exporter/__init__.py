# SPDX-License-Identifier: Apache-2.0
"""The daemon's counters for Prometheus, by a process of their own."""
