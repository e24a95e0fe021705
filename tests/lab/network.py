# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's wire: a bridge and a router in a namespace without uplink, and everybody around it."""

from __future__ import annotations

import shutil

from .machine import STATE, end_all, remove_control_groups, run, space, spaces, unmount_below

# Documentation addresses (RFC 5737, RFC 3849) stand for the internet.
C2 = "203.0.113.66"
C2_6 = "2001:db8:66::66"
SCANNER = "198.51.100.7"
MONITORING = "10.66.0.20"
LAN = {  # role -> last part of its address on the hosts' network, 10.66.0.0/24 and fd66::/64
    "controller": 10, "monitoring": 20, "neighbour": 30, "deb13": 113, "deb12": 112, "deb11": 111,
}


def lan4(number: int) -> str:
    """The IPv4 address with this last part on the hosts' network."""
    return f"10.66.0.{number}"


def address(role: str) -> str:
    """The IPv4 address of a role on the hosts' network."""
    return lan4(LAN[role])


def address6(role: str) -> str:
    """The IPv6 address of a role on the hosts' network."""
    return f"fd66::{LAN[role]}"


def _batch(role: str, lines: list[str]) -> None:
    run(["ip", "-n", space(role), "-batch", "-"], text="\n".join(lines) + "\n")


def _space(role: str) -> None:
    run(["ip", "netns", "add", space(role)])
    _batch(role, ["link set lo up"])


def _plug(role: str, number: int) -> None:
    """A wire from the bridge into the role's namespace, where it is called `host0`.

    A hardware address that goes with the IP address: whoever knew the last host there finds the next one at once.
    """
    _batch("wire", [f"link add p-{role} type veth peer name host0 address 02:66:00:00:00:{number:02x} netns {space(role)}",
                    f"link set p-{role} master lan up"])
    _batch(role, [f"address add {lan4(number)}/24 dev host0", f"address add fd66::{number}/64 dev host0 nodad",
                  "link set host0 up", "route add default via 10.66.0.1", "route add ::/0 via fd66::1"])


def attach(role: str, number: int) -> None:
    """One more role on the hosts' network."""
    _space(role)
    _plug(role, number)


def replug(role: str) -> None:
    """A new network for a role whose processes are dead, at the same place."""
    run(["ip", "netns", "delete", space(role)])
    run(["ip", "-n", space("wire"), "link", "delete", f"p-{role}"], check=False)  # the kernel may not have got to it yet
    attach(role, LAN[role])


def make() -> None:
    """Namespaces, bridge, router and addresses."""
    for role in ("wire", "internet", *LAN):
        _space(role)
    for role in ("wire", "controller", "internet", "monitoring", "neighbour"):
        # Without duplicate address detection an address can be used at once.
        run(["ip", "netns", "exec", space(role), "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"])
    _batch("wire", ["link add lan type bridge", "link set lan up",
                    "address add 10.66.0.1/24 dev lan", "address add fd66::1/64 dev lan nodad"])
    for role, number in LAN.items():
        _plug(role, number)
    _batch("wire", [f"link add outside type veth peer name inet0 netns {space('internet')}", "link set outside up",
                    "address add 203.0.113.1/24 dev outside", "address add 198.51.100.1/24 dev outside",
                    "address add 2001:db8:66::1/64 dev outside nodad"])
    _batch("internet", [f"address add {C2}/24 dev inet0", f"address add {SCANNER}/24 dev inet0",
                        f"address add {C2_6}/64 dev inet0 nodad", "link set inet0 up",
                        "route add default via 203.0.113.1", "route add ::/0 via 2001:db8:66::1"])
    run(["ip", "netns", "exec", space("wire"), "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])


def remove() -> None:
    """End every process of the lab and take its namespaces and its state away; also after a crash in the middle."""
    roles = spaces()
    end_all(roles)
    for role in roles:
        run(["ip", "netns", "delete", space(role)])
    remove_control_groups()
    unmount_below(STATE)
    shutil.rmtree(STATE, ignore_errors=True)
