#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Install the packages that tools/build-deb.sh built in a Debian of their own, use them, and
# purge them, as root:
#
#   tools/test-deb.sh [DIRECTORY]
#
# The Debian is made by debootstrap in a temporary directory, from where this host gets its
# packages, and goes with it.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(realpath "${1:-build/deb}")
suite=bookworm

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }

# All mounts are made in here, so that they end with this process.
if [ -z "${VHOST_BRICK_OWN_MOUNTS:-}" ]; then
	exec env VHOST_BRICK_OWN_MOUNTS=1 unshare --mount --propagation private \
		"$PWD/tools/test-deb.sh" "$packages"
fi

command -v debootstrap >/dev/null || {
	say "Installing debootstrap"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		debootstrap >/dev/null
}

root=$(mktemp -d)
chmod 755 "$root"
cleanup() {
	local mount
	for mount in proc sys dev run; do
		umount -R -l "$root/$mount" 2>/dev/null || true
	done
	rm -rf --one-file-system "$root"
}
trap cleanup EXIT

in_root() {
	chroot "$root" env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} "$@"
}

# Files that belong to no package, and users: what a purge has to leave as it was.
left_behind() {
	in_root find / /run -xdev \( -path /tmp -o -path /proc -o -path /sys -o -path /dev \
		-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log/apt \) \
		-prune -o -name '*vhost*brick*' -print
	in_root getent passwd vhost-brick || true
	in_root find / /run -xdev -nouser -print
}

mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk -v s="$suite" \
	'$2 == s { print $1; exit }')

say "Making a Debian ($suite, ${mirror:-the default mirror})"
debootstrap --variant=minbase "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
	{ tail -n 20 "$root.log" >&2; fail "debootstrap"; }
rm -f "$root.log"
# From where the host gets them, by the way it does.
rm -f "$root/etc/apt/sources.list"
for path in sources.list sources.list.d apt.conf.d trusted.gpg.d; do
	if [ -e "/etc/apt/$path" ]; then
		cp -rT "/etc/apt/$path" "$root/etc/apt/$path"
	fi
done
cp /etc/resolv.conf "$root/etc/resolv.conf"
# No services: there is no systemd to run them.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"

mkdir "$root/tmp/packages"
cp "$packages"/*.deb packaging/trial.py "$root/tmp/packages"

say "Installing the packages"
in_root apt-get update -qq
# libvirt's group is part of how it is used; its daemon is not needed.
in_root groupadd --system libvirt-qemu
in_root sh -c 'apt-get install -qq -y --no-install-recommends /tmp/packages/*.deb' >/dev/null

say "What is there"
for path in /usr/share/man/man1/vhost-brick.1.gz /usr/share/man/man8/vhost-brickd.8.gz \
	/usr/share/man/man5/vhost-brick.conf.5.gz /etc/logrotate.d/vhost-brickd \
	/usr/share/doc/vhost-brick-doc/html/index.html; do
	[ -e "$root$path" ] || fail "$path is missing"
done
in_root bash -c '. /usr/share/bash-completion/completions/vhost-brick && complete -p vhost-brick'
in_root systemd-analyze verify --man=no vhost-brickd.service vhost-brickd@a.service
in_root systemctl is-enabled vhost-brickd.service
in_root python3 -c 'import importlib.metadata as m
assert "vhostuser_fp" in m.entry_points(group="os_vif").names
import vhost_brick_plugin.os_vif'

for datapath in fake dpdk; do
	say "The daemon, $datapath"
	in_root python3 /tmp/packages/trial.py "$datapath"
done

say "Purging them"
in_root apt-get purge -qq -y vhost-brickd vhost-brick-plugin vhost-brick-doc >/dev/null
left=$(left_behind)
[ -z "$left" ] || fail "left behind:"$'\n'"$left"
say "Passed"
