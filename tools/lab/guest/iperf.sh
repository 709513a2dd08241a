#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds a guest that has iperf3 as well: build.sh's, and a second archive behind its
# initramfs, with Debian's iperf3 and the libraries that it takes.
#
#   iperf.sh CACHE_DIR
#
# leaves CACHE_DIR/initramfs-iperf.cpio.gz. The packages are downloaded once and kept.
# Nothing is installed into the machine.
set -eu
export LC_ALL=C
umask 022

die() {
    echo "iperf.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || die "usage: iperf.sh CACHE_DIR"
here=$(cd "$(dirname "$0")" && pwd)
"$here/build.sh" "$1"
cache=$(cd "$1" && pwd)

exec 9>"$cache/.lock"
flock 9

scratch=$(mktemp -d "$cache/.iperf.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# ---- the packages, all or none of them
download() {
    (cd "$scratch/debs" &&
        apt-get -qq -o APT::Sandbox::User=root download iperf3 libiperf0 libsctp1)
}

if [ ! -d "$cache/iperf" ]; then
    mkdir "$scratch/debs"
    download || {
        apt-get -qq update >&2 || true
        download
    } || die "cannot download iperf3"
    mv "$scratch/debs" "$cache/iperf"
fi

inputs=$(cat "$here/iperf.sh" "$cache/inputs.sha256" "$cache"/iperf/*.deb | sha256sum |
    cut -d ' ' -f 1)
if [ "$(cat "$cache/iperf.sha256" 2>/dev/null)" = "$inputs" ]; then
    exit 0
fi
rm -f "$cache/iperf.sha256"

# ---- the program, and this machine's libraries where the packages have none
for deb in "$cache"/iperf/*.deb; do
    dpkg-deb -x "$deb" "$scratch/packages"
done
lib=lib/x86_64-linux-gnu
root=$scratch/root
mkdir -p "$root/bin" "$root/$lib" "$root/lib64"
cp "$scratch/packages/usr/bin/iperf3" "$root/bin/"
for library in $(LD_LIBRARY_PATH="$scratch/packages/usr/$lib" ldd "$root/bin/iperf3" |
    grep -o '/[^ ]*'); do
    case $library in
    /lib64/*) cp -L "$library" "$root/lib64/" ;;
    *) cp -L "$library" "$root/$lib/" ;;
    esac
done

find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | sort |
    cpio -o -H newc --quiet --reproducible -R 0:0) |
    gzip -n -1 | cat "$cache/initramfs.cpio.gz" - >"$scratch/initramfs.cpio.gz"
chmod 644 "$scratch/initramfs.cpio.gz"
mv "$scratch/initramfs.cpio.gz" "$cache/initramfs-iperf.cpio.gz"
echo "$inputs" >"$cache/iperf.sha256"
