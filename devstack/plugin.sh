#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# DevStack plugin: vhost-brickd, its Neutron agent and driver, and Nova's settings.
# DevStack sources this file in each of its phases; see README.rst beside it.

VHOST_BRICK_DIR=${VHOST_BRICK_DIR:-$DEST/vhost-brick-plugin}

function install_vhost_brick {
    # shellcheck disable=SC2046
    install_package $(vhost_brick_packages)
    setup_develop "$VHOST_BRICK_DIR"
}

# What bindep.txt names, less what only the tests take.
function vhost_brick_packages {
    sed -n '/test/d; s/ *\[platform:dpkg\]//p' "$VHOST_BRICK_DIR/bindep.txt"
}

# Options one after the other: FILE SECTION NAME=VALUE...
function vhost_brick_set {
    local file=$1 section=$2 option
    shift 2
    for option in "$@"; do
        iniset "$file" "$section" "${option%%=*}" "${option#*=}"
    done
}

function configure_vhost_brickd {
    sudo install -d -o "$STACK_USER" "$(dirname "$VHOST_BRICK_CONF")"
    sudo install -d /var/lib/vhost-brick
    # QEMU makes the sockets, vhost-brickd connects to them.
    sudo install -d -o root -g "$(vhost_brick_qemu_group)" -m 2770 /run/vhost-brick/sockets
    vhost_brick_set "$VHOST_BRICK_CONF" daemon \
        "api_socket_group=$(id -gn "$STACK_USER")"
    vhost_brick_set "$VHOST_BRICK_CONF" vhost "socket_group=$(vhost_brick_qemu_group)"
    if [[ -n "$VHOST_BRICK_NIC" ]]; then
        vhost_brick_set "$VHOST_BRICK_CONF" dpdk "nic=$VHOST_BRICK_NIC"
    fi
}

function vhost_brick_qemu_group {
    if getent group libvirt-qemu >/dev/null; then
        echo libvirt-qemu
    else
        echo hugetlbfs
    fi
}

function configure_vhost_brick_agent {
    sudo install -d -o "$STACK_USER" "$(dirname "$VHOST_BRICK_AGENT_CONF")"
    vhost_brick_set "$VHOST_BRICK_AGENT_CONF" vhost_brick \
        "uplink_mappings=$VHOST_BRICK_UPLINK_MAPPINGS"
    if [[ -n "$VHOST_BRICK_LOCAL_IP" ]]; then
        vhost_brick_set "$VHOST_BRICK_AGENT_CONF" vhost_brick "local_ip=$VHOST_BRICK_LOCAL_IP"
    fi
}

# nova-compute's own file is a copy of nova.conf, made before or after us by DevStack's age.
function configure_vhost_brick_nova {
    local file
    if [[ "$VHOST_BRICK_FILE_BACKED_MEMORY" == 0 ]]; then
        return
    fi
    for file in "$NOVA_CONF" "$NOVA_CPU_CONF"; do
        vhost_brick_set "$file" libvirt "file_backed_memory=$VHOST_BRICK_FILE_BACKED_MEMORY"
        vhost_brick_set "$file" DEFAULT ram_allocation_ratio=1.0 reserved_host_memory_mb=0
    done
}

# OVS takes the trunk in as soon as vhost-brickd makes it.
function join_vhost_brick_trunk {
    if [[ "$VHOST_BRICK_UPLINK_MAPPINGS" == *":tap:$VHOST_BRICK_TRUNK"* ]]; then
        sudo ovs-vsctl --no-wait -- --may-exist add-br "$OVS_PHYSICAL_BRIDGE" \
            -- --may-exist add-port "$OVS_PHYSICAL_BRIDGE" "$VHOST_BRICK_TRUNK"
    fi
}

function start_vhost_brick {
    if is_service_enabled vhost-brickd; then
        run_process vhost-brickd \
            "$(get_python_exec_prefix)/vhost-brickd --config-file $VHOST_BRICK_CONF" root root
    fi
    if is_service_enabled vhost-brick-agent; then
        run_process vhost-brick-agent \
            "$(get_python_exec_prefix)/vhost-brick-neutron-agent --config-file $NEUTRON_CONF \
--config-file $VHOST_BRICK_AGENT_CONF"
    fi
}

function stop_vhost_brick {
    stop_process vhost-brick-agent
    stop_process vhost-brickd
}

function clean_vhost_brick {
    sudo rm -rf "$(dirname "$VHOST_BRICK_CONF")" "$VHOST_BRICK_AGENT_CONF" \
        /var/lib/vhost-brick /run/vhost-brick
}

case "${1:-} ${2:-}" in
    "stack install")
        install_vhost_brick
        ;;
    "stack post-config")
        if is_service_enabled vhost-brickd; then
            configure_vhost_brickd
        fi
        if is_service_enabled vhost-brick-agent; then
            configure_vhost_brick_agent
            join_vhost_brick_trunk
        fi
        if is_service_enabled n-cpu; then
            configure_vhost_brick_nova
        fi
        start_vhost_brick
        ;;
    "unstack "*)
        stop_vhost_brick
        ;;
    "clean "*)
        clean_vhost_brick
        ;;
esac
