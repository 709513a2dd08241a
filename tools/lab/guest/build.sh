#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the lab's guest: Debian's cloud kernel, and an initramfs that
# holds busybox, the few kernel modules a virtio network card needs, the
# pinger, the keeper, the flusher and init.
#
#   build.sh CACHE_DIR
#
# leaves CACHE_DIR/vmlinuz and CACHE_DIR/initramfs.cpio.gz. What is there
# already and made from the same inputs is kept. The kernel package is
# downloaded once and kept; VB_LAB_KERNEL_REFRESH=1 looks for a newer one.
# Nothing is installed into the machine.
set -eu
export LC_ALL=C
umask 022

die() {
    echo "build.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || die "usage: build.sh CACHE_DIR"
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)

busybox=$(command -v busybox) || die "no busybox: install busybox-static"
for tool in gcc cpio gzip dpkg-deb flock sha256sum; do
    command -v "$tool" >/dev/null || die "no $tool: install it first"
done

exec 9>"$cache/.lock"
flock 9

# ---- the kernel: one package file, kept in the cache
kernel_deb() {
    find "$cache/kernel" -maxdepth 1 -name 'linux-image-*.deb' 2>/dev/null |
        sort -V | tail -n 1
}

real_kernel_package() {
    apt-cache depends --important linux-image-cloud-amd64 2>/dev/null |
        awk '/Depends: linux-image-/ { print $2; exit }'
}

# Runs in a scratch directory, so that a download which was cut short is
# never taken for a package.
download_kernel() {
    package=$(real_kernel_package)
    [ -n "$package" ] || return 1
    (cd "$scratch" &&
        apt-get -qq -o APT::Sandbox::User=root download "$package") ||
        return 1
    mkdir -p "$cache/kernel"
    mv "$scratch"/linux-image-*.deb "$cache/kernel/"
}

scratch=$(mktemp -d "$cache/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

deb=$(kernel_deb)
if [ -z "$deb" ] || [ -n "${VB_LAB_KERNEL_REFRESH:-}" ]; then
    echo "build.sh: downloading the guest kernel" >&2
    download_kernel || {
        apt-get -qq update >&2 || true
        download_kernel
    } || [ -n "$deb" ] || die "cannot download linux-image-cloud-amd64's kernel"
    deb=$(kernel_deb)
fi

# ---- is what is there made from the same things?
inputs=$({
    sha256sum "$here/build.sh" "$here/init" "$here"/*.c "$busybox" |
        cut -d ' ' -f 1
    basename "$deb"
    gcc -dumpfullversion
} | sha256sum | cut -d ' ' -f 1)
if [ -s "$cache/vmlinuz" ] && [ -s "$cache/initramfs.cpio.gz" ] &&
    [ "$(cat "$cache/inputs.sha256" 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi
rm -f "$cache/inputs.sha256"

# ---- the modules, each after those it depends on
mkdir "$scratch/kernel"
dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$scratch/kernel" --wildcards \
    './boot/vmlinuz-*' './lib/modules/*/kernel/drivers/virtio/*' \
    './lib/modules/*/kernel/drivers/net/*.ko' \
    './lib/modules/*/kernel/net/core/*.ko'

root=$scratch/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" \
    "$root/lib/modules"
order=$root/lib/modules/order
: >"$order"

add_module() {
    if grep -qx "$1.ko" "$order"; then
        return
    fi
    file=$(find "$scratch/kernel/lib" -name "$1.ko")
    [ -n "$file" ] || die "no module $1 in $(basename "$deb")"
    for dep in $(tr '\0' '\n' <"$file" |
        sed -n 's/^depends=//p' | tr ',' ' '); do
        (add_module "$dep")
    done
    cp "$file" "$root/lib/modules/"
    echo "$1.ko" >>"$order"
}

add_module virtio_pci
add_module virtio_net

# ---- user space
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
for tool in pinger keeper flusher; do
    gcc -static -O2 -std=gnu11 -Wall -Wextra -Werror -o "$root/bin/$tool" \
        "$here/$tool.c"
    strip "$root/bin/$tool"
done

find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | sort |
    cpio -o -H newc --quiet --reproducible -R 0:0) |
    gzip -n -1 >"$scratch/initramfs.cpio.gz"
cp "$scratch"/kernel/boot/vmlinuz-* "$scratch/vmlinuz"
chmod 644 "$scratch/vmlinuz" "$scratch/initramfs.cpio.gz"
mv "$scratch/vmlinuz" "$scratch/initramfs.cpio.gz" "$cache/"
echo "$inputs" >"$cache/inputs.sha256"
