#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Install the packages that tools/build-deb.sh built in a Debian of their own, use them, and
# purge them, as root:
#
#   tools/test-deb.sh [DIRECTORY]
#
# The Debian is made by debootstrap in a temporary directory, from where this host gets its
# packages, and goes with it.  First it is a chroot; then its systemd is started, in
# namespaces of its own, where this machine allows that.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$(realpath "${1:-build/deb}")
suite=bookworm
names=(vhost-brickd vhost-brick-plugin vhost-brick-doc)
units=(vhost-brickd.service vhost-brickd@a.service vhost-brick-exporter.service
	vhost-brick-neutron-agent.service vhost-brick-reconcile.service)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }

# All mounts and processes are made in here, so that they end with this one.
if [ -z "${VHOST_BRICK_OWN_NAMESPACES:-}" ]; then
	exec env VHOST_BRICK_OWN_NAMESPACES=1 unshare --mount --propagation private \
		--pid --fork --kill-child --mount-proc "$PWD/tools/test-deb.sh" "$packages"
fi
trap 'exit 130' INT TERM

command -v debootstrap >/dev/null || {
	say "Installing debootstrap"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		debootstrap >/dev/null
}

root=$(mktemp -d)
chmod 755 "$root"
init= keeper=
cleanup() {
	local mount
	[ -z "$keeper" ] || shut_down
	for mount in proc sys dev run; do
		umount -R -l "$root/$mount" 2>/dev/null || true
	done
	rm -rf --one-file-system "$root"
}
trap cleanup EXIT

clean_env() {
	env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
		DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} "$@"
}

# Within the Debian, beside its systemd if that runs.
in_root() {
	if [ -n "$init" ]; then
		clean_env nsenter -t "$init" -m -u -i -n -p -C -r -w "$@"
	else
		clean_env chroot "$root" "$@"
	fi
}

# Dependencies are there after the first time: systemd has no network.
install_ours() { in_root sh -c 'apt-get install -qq -y --no-install-recommends /packages/*.deb'; }
purge_ours() { in_root apt-get purge -qq -y "${names[@]}" >/dev/null; }

# -- what a purge has to leave as it was -------------------------------------

# All files and their rights, users and groups; but for what keeps account of packages, and
# what Python keeps for root.
everything() {
	in_root find / /run -xdev \( -path /tmp -o -path /proc -o -path /sys -o -path /dev \
		-o -path /packages -o -path /root/.cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache \
		-o -path '/var/log/apt*' -o -name 'dpkg.log' -o -name '*-' \) -prune \
		-o -printf '%p %y%m %u:%g %l\n' | sort
	in_root sh -c 'cat /etc/passwd /etc/group /etc/shadow /etc/gshadow'
}

# What systemd remembers until the next start is not the packages'.
expect_nothing_left() {
	local left
	left=$(everything | grep -v '^/run/systemd/' | grep -i 'vhost.brick' || true)
	left+=$(in_root find / /run -xdev -nouser -print)
	[ -z "$left" ] || fail "left behind:"$'\n'"$left"
}

# -- steps -------------------------------------------------------------------

make_debian() {
	local mirror path
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
	# No services until there is a systemd to run them.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/run"
	mkdir "$root/packages"
	cp "$packages"/*.deb packaging/trial.py packaging/under_systemd.py "$root/packages"
	in_root apt-get update -qq
	# What the packages bring something for.
	in_root apt-get install -qq -y --no-install-recommends bash-completion logrotate man-db \
		>/dev/null 2>&1
}

# Nova's hosts take the plugin alone, which has nothing native in it and asks for none.
check_plugin_alone() {
	say "The plugin alone"
	in_root sh -c 'apt-get install -qq -y --no-install-recommends /packages/vhost-brick-plugin_*' \
		>/dev/null
	in_root python3 -c 'import importlib.metadata as m
assert {"vhost_brick", "vhostuser_fp"} <= m.entry_points(group="os_vif").names
import vhost_brick_plugin.os_vif'
	! in_root dpkg -L vhost-brick-plugin | grep '\.so$' || fail "it is not pure Python"
	! in_root dpkg-query -W -f '${Package}\n' 'librte*' 2>/dev/null | grep . || fail "it takes DPDK"
}

# Page, section, and a word that comes from a declaration.
check_man() {
	local shown
	# The second stream: groff's warnings.
	shown=$(in_root env MANWIDTH=80 man --warnings=w "$2" "$1" 2>&1 >/dev/null)
	[ -z "$shown" ] || fail "man $1: $shown"
	in_root env MANWIDTH=80 man "$2" "$1" | grep -q -e "$3" || fail "man $1: nothing of $3"
}

check_files() {
	local unit log
	say "What is there"
	check_man vhost-brick 1 'domain interface-xml'
	check_man vhost-brick.conf 5 api_socket_mode
	check_man vhost-brickd 8 config-file
	check_man vhost-brick-exporter 8 vhost_brick_up
	[ -e "$root/usr/share/doc/vhost-brick-doc/html/index.html" ] || fail "no HTML"
	# It says whether the pages that units name are there, too.
	log=$(in_root systemd-analyze verify "${units[@]}" 2>&1) || fail "units: $log"
	[ -z "$log" ] || fail "units: $log"
	for unit in "${units[@]}"; do
		in_root systemd-analyze security --offline=yes --threshold=30 --no-pager "$unit" \
			>/dev/null || fail "$unit has more rights than it should"
	done
	in_root systemctl -q is-enabled vhost-brickd.service || fail "vhost-brickd is not enabled"
	! in_root systemctl -q is-enabled vhost-brick-exporter vhost-brick-reconcile \
		vhost-brick-neutron-agent || fail "more is enabled than the daemon"
	log=$(in_root systemd-sysusers --dry-run vhost-brick.conf 2>&1) || fail "sysusers: $log"
	[ -z "$log" ] || fail "sysusers would have more to do: $log"
	log=$(in_root logrotate --debug /etc/logrotate.d/vhost-brickd 2>&1) || fail "logrotate: $log"
	! grep -i 'error' <<<"$log" || fail "logrotate"
}

# libvirt and Nova come later: it is put into their groups, and QEMU can make its sockets.
check_groups() {
	local run=/run/vhost-brick
	say "In the groups of libvirt and Nova"
	in_root groupadd --system libvirt-qemu
	in_root groupadd --system nova
	in_root dpkg-reconfigure vhost-brickd
	in_root id -nG vhost-brick | grep -q 'libvirt-qemu nova' || fail "it is in neither group"
	[ "$(in_root stat -c '%U:%G %a' $run $run/sockets | xargs)" = \
		"vhost-brick:vhost-brick 755 vhost-brick:libvirt-qemu 2770" ] || fail "tmpfiles"
}

# Configuration is the operator's: it outlives all but a purge.
check_conffile() {
	local conf=$root/etc/vhost-brick/vhost-brick.conf
	say "Installing them again, and removing them"
	echo "# mine" >>"$conf"
	in_root sh -c 'dpkg -i /packages/*.deb' >/dev/null
	in_root apt-get remove -qq -y "${names[@]}" >/dev/null
	grep -q '^# mine' "$conf" || fail "the configuration is gone"
	[ ! -e "$root/usr/bin/vhost-brickd" ] || fail "the daemon is still there"
}

# -- systemd -----------------------------------------------------------------

# Start the Debian's systemd; its process is $init then, and $keeper holds its namespaces.  It
# needs a cgroup of its own.
boot() {
	mkdir "$root.cgroup"
	mount -t cgroup2 cgroup2 "$root.cgroup" 2>/dev/null && mkdir "$root.cgroup/${root##*/}" ||
		return 1
	(
		echo 0 >"$root.cgroup/${root##*/}/cgroup.procs"
		exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts --net \
			bash -e -s "$root" <<'INIT'
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
cp -a /dev/{null,zero,full,random,urandom,tty,net} dev
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
# A chroot would not do: services with mounts of their own take a root that is one.
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . /lib/systemd/systemd </dev/null >/dev/null 2>&1
INIT
	) &
	keeper=$!
	for _ in {1..100}; do
		init=$(cat "/proc/$keeper/task/$keeper/children" 2>/dev/null | xargs)
		# It is bash until all is mounted.
		if [ -n "$init" ] && grep -qs '^systemd$' "/proc/$init/comm" &&
			in_root test -S /run/systemd/private; then
			in_root systemctl --wait is-system-running >/dev/null || true
			return
		fi
		sleep 0.1
	done
	return 1
}

shut_down() {
	# Its keeper ends after all that it has started.
	kill -KILL "${init:-$keeper}" 2>/dev/null || true
	wait "$keeper" 2>/dev/null || true
	init= keeper=
	find "$root.cgroup/${root##*/}" -depth -type d -exec rmdir {} \; 2>/dev/null || true
	umount "$root.cgroup" && rmdir "$root.cgroup"
}

check_under_systemd() {
	say "Under systemd"
	rm "$root/usr/sbin/policy-rc.d"
	if ! boot; then
		say "Not tried: systemd cannot be started here"
		return
	fi
	install_ours >/dev/null
	in_root python3 /packages/under_systemd.py
	in_root apt-get remove -qq -y "${names[@]}" >/dev/null
	! in_root systemctl --no-legend list-units 'vhost-brick*.service' | grep running ||
		fail "something outlives its package"
	purge_ours
	expect_nothing_left
}

# ----------------------------------------------------------------------------

make_debian
check_plugin_alone
say "Installing the packages"
install_ours >/dev/null
check_files
for datapath in fake dpdk; do
	say "The daemon, $datapath"
	in_root python3 /packages/trial.py "$datapath"
done
check_groups
say "Purging them"
purge_ours
expect_nothing_left
before=$(everything)
say "Once more, with nothing but their dependencies there"
install_ours >/dev/null
in_root python3 /packages/trial.py fake >/dev/null
check_conffile
say "Purging them"
purge_ours
diff <(echo "$before") <(everything) || fail "a purge does not leave all as it was"
check_under_systemd
say "Passed"
