# SPDX-License-Identifier: Apache-2.0
# Built by native/build_ffi.py out of native/include/vhost_brick.h, which documents it.
from typing import Any

ffi: Any
lib: Any
