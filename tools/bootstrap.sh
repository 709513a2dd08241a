#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Make a fresh Debian 12 able to build, run and test this checkout:
#
#   tools/bootstrap.sh
#
# Installs the packages of bindep.txt that are missing, makes the virtual
# environment .venv, installs the project and tox into it, and puts promtool beside
# them, which some tests take where it can be had.  Run again after a
# change of the C sources or of the requirements; it does only what is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

packages() { sed -e 's/#.*//' bindep.txt | awk 'NF { print $1 }'; }

missing_packages() {
	local name
	for name in $(packages); do
		dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || echo "$name"
	done
}

install_packages() {
	local missing
	missing=$(missing_packages)
	[ -z "$missing" ] && return
	if [ "$(id -u)" != 0 ]; then
		say "These Debian packages are missing; install them as root:" $missing
		exit 1
	fi
	say "Installing Debian packages:" $missing
	apt-get update -qq
	# Without their services: the project runs a libvirtd of its own.
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends \
		$missing >/dev/null
}

# What .venv was made of: if it is the same, there is nothing to do.
fingerprint() {
	cat setup.py setup.cfg pyproject.toml requirements.txt test-requirements.txt \
		tools/bootstrap.sh native/build_ffi.py native/*/*.[ch] | sha256sum
}

make_venv() {
	local stamp=.venv/vhost-brick.stamp
	[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && return
	say "Building the project into .venv"
	# Debian's Python, whose headers and libraries the packages above are for.
	[ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check --upgrade pip tox
	.venv/bin/pip install -q --disable-pip-version-check --force-reinstall --no-deps .
	.venv/bin/pip install -q --disable-pip-version-check -r requirements.txt
	fingerprint >"$stamp"
}

# Out of its package: to install that would start a Prometheus on this machine.
fetch_promtool() {
	local work
	if command -v promtool >/dev/null || [ -x .venv/bin/promtool ]; then
		return
	fi
	say "Taking promtool out of Debian's package prometheus"
	work=$(mktemp -d)
	if (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus) &&
		dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb |
		tar -x -C "$work" ./usr/bin/promtool; then
		install "$work/usr/bin/promtool" .venv/bin
	else
		say "It cannot be had now: the tests that take it are skipped"
	fi
	rm -rf "$work"
}

install_packages
make_venv
fetch_promtool
