# SPDX-License-Identifier: Apache-2.0
"""Builds the native module: cdef cut from the public header, flags from pkg-config.

Environment:

``VHOST_BRICK_WERROR=1``
    warnings are errors, as in CI.
``VHOST_BRICK_SANITIZE=address,undefined``
    built with those sanitizers (the interpreter then needs their runtime preloaded).
"""

import os
import pathlib
import re
import shlex
import subprocess

import cffi

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE / "include" / "vhost_brick.h"

# Only what the code uses: DPDK's own list holds every library it has.  Drivers
# are plugins that EAL loads by itself.
LIBRARIES = ("eal", "ethdev", "hash", "log", "mbuf", "mempool", "net", "rcu", "ring")


def cdef() -> str:
    """Return the marked part of the public header, which is plain C but for comments."""
    text = HEADER.read_text()
    body = text.split("/* ffi: begin */")[1].split("/* ffi: end */")[0]
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
    if re.search(r"^\s*#(?!define \w+ \d+\s*$)", body, flags=re.MULTILINE):
        raise SystemExit(f"{HEADER}: only '#define NAME NUMBER' may stand between the ffi marks")
    return body


def pkg_config(*args: str) -> list[str]:
    """Ask pkg-config about DPDK; end the build with what to install if it is not there."""
    try:
        out = subprocess.run(
            ["pkg-config", *args, "libdpdk"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as e:
        raise SystemExit(
            "vhost-brick-plugin: DPDK's development files were not found (pkg-config libdpdk).\n"
            "Install libdpdk-dev and pkg-config, or set VHOST_BRICK_PLUGIN_ONLY=1 to install "
            f"only the os-vif plugin and the CLI.\n({e})"
        ) from None
    return shlex.split(out.stdout)


def sources() -> list[str]:
    """Return the C files, relative to the project as setuptools wants them."""
    return sorted(str(p.relative_to(HERE.parent)) for p in HERE.glob("*/*.c"))


def libraries() -> list[str]:
    """Return the linker's arguments for the libraries we use and this DPDK has."""
    have = set(pkg_config("--libs-only-l"))
    return [f"-lrte_{name}" for name in LIBRARIES if f"-lrte_{name}" in have]


def compile_args() -> list[str]:
    """Return the compiler's arguments."""
    args = ["-std=gnu11", "-O3", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"]
    # A few calls are marked experimental in 22.11.
    args += ["-DALLOW_EXPERIMENTAL_API", *pkg_config("--cflags")]
    if os.environ.get("VHOST_BRICK_WERROR"):
        args.append("-Werror")
    return args


def sanitize_args() -> list[str]:
    """Return the arguments that switch sanitizers on, for compiler and linker both."""
    kinds = os.environ.get("VHOST_BRICK_SANITIZE")
    return [f"-fsanitize={kinds}", "-fno-omit-frame-pointer"] if kinds else []


ffibuilder = cffi.FFI()
ffibuilder.cdef(cdef())
ffibuilder.set_source(
    "vhost_brick_plugin.datapath._native",
    '#include "vhost_brick.h"',
    sources=sources(),
    include_dirs=[str(HERE / "include"), str(HERE)],
    extra_compile_args=compile_args() + sanitize_args(),
    extra_link_args=[*pkg_config("--libs-only-L"), *libraries(), "-lpcap", *sanitize_args()],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
