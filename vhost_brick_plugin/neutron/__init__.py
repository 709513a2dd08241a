# SPDX-License-Identifier: Apache-2.0
"""The OpenStack Neutron side: an ML2 mechanism driver and its L2 agent.

::

    mech_driver                     runs in neutron-server: binds ports to our hosts

    agent -> loop -> manager        runs beside vhost-brickd: gives its networks their
             rpc       |            uplinks, and its ports their security
             canary  wiring, networks              in Neutron's terms
             retries   |  segments, security, remotes
                     view, watch                   what the daemon has

The agent makes and removes no port, that is Nova's (``os_vif``); it finds the ports
that Nova plugged by their ids, which are Neutron's, and their networks likewise.
Only ``mech_driver``, ``agent``, ``loop``, ``manager``, ``migration`` and ``rpc`` import
Neutron.
"""
