#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Build the Debian packages of what is committed, as root on Debian 12:
#
#   tools/build-deb.sh [DIRECTORY]
#
# Installs what the build takes, builds in a clean clone, and puts the packages into
# DIRECTORY (build/deb).
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-build/deb}")

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# 0.1.0~dev7: seven commits on the way to the version of setup.cfg.
version() {
	local next
	next=$(sed -n 's/^version = //p' setup.cfg)
	printf '%s~dev%s' "$next" "$(git rev-list --count HEAD)"
}

changelog() {
	printf 'vhost-brick-plugin (%s) unstable; urgency=medium\n\n' "$(version)"
	printf '  * Commit %s.\n\n' "$(git rev-parse --short HEAD)"
	printf ' -- %s  %s\n' "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" \
		"$(git log -1 --format=%cD)"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/vhost-brick-plugin

git clone -q --no-hardlinks . "$tree"
cp -r "$tree/packaging/debian" "$tree/debian"
changelog >"$tree/debian/changelog"

say "Installing what the build takes"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends dpkg-dev >/dev/null
apt-get build-dep -qq -y --no-install-recommends "$tree" >/dev/null

say "Building $(version)"
# By Debian's own Python, whatever the caller's is.
(cd "$tree" && env -i HOME="$work" LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	dpkg-buildpackage -b -us -uc >"$work/log" 2>&1) || {
	tail -n 60 "$work/log" >&2
	exit 1
}
mkdir -p "$out"
rm -f "$out"/*.deb
cp "$work"/*.deb "$out"
say "Built:"
ls "$out"/*.deb
