# SPDX-License-Identifier: Apache-2.0
"""Build entry point: metadata lives in setup.cfg (pbr), the native part here.

The native extension needs DPDK's headers.  A host that only runs Nova needs
the os-vif plugin alone; there the operator says so with
``VHOST_BRICK_PLUGIN_ONLY=1``.  A missing DPDK never turns it off silently.
"""

import os

import setuptools

plugin_only = os.environ.get("VHOST_BRICK_PLUGIN_ONLY", "") not in ("", "0")

setuptools.setup(
    setup_requires=["pbr>=5.10"],
    pbr=True,
    cffi_modules=[] if plugin_only else ["native/build_ffi.py:ffibuilder"],
)
