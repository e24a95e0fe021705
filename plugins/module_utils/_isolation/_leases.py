# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that has its address for a time only must be able to keep it: what passes for DHCP and DHCPv6. Pure: reads nothing.

The client may call to the link, which every server hears at the latest when seven eighths of the time are over (RFC 2131, 4.4.5), and
servers on the link may answer. A server elsewhere, or a unicast renewal, passes only where the allow list names the server.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_FOR_EVER = 4294967295  # INFINITY_LIFE_TIME of the kernel, in seconds
_GLOBAL = 0  # RT_SCOPE_UNIVERSE
_WIDEST, _MOST = 8, 8  # of a link's network, and of such networks: root on the host can give it any address
_LINK = ipaddress.ip_network("fe80::/10")


def networks(addresses: list[dict[str, object]]) -> list[Network]:
    """Where the servers of leased addresses may answer from, of the records of `_netstate.dump("addresses")`.

    DHCPv6 gives whole addresses, /128; what router advertisements give needs none of this.
    """
    found: set[Network] = set()
    for one in addresses:
        text, prefix, valid = str(one.get("local") or one.get("address") or ""), one.get("prefix"), one.get("valid", _FOR_EVER)
        if one.get("scope") != _GLOBAL or valid == _FOR_EVER or not isinstance(prefix, int) or not text:
            continue
        if ":" not in text:
            if prefix >= _WIDEST and len(found) < _MOST:
                found.add(ipaddress.ip_network("{0}/{1}".format(text, prefix), strict=False))
        elif prefix == 128:
            found.add(_LINK)
    return sorted(found, key=lambda network: (network.version, str(network)))


def for_nft(leases: list[Network]) -> tuple[list[str], list[str]]:
    """The rules in and out."""
    four = ", ".join(str(network) for network in leases if network.version == 4)
    rules_in, rules_out = [], []
    if four:
        rules_in.append("ip saddr {{ {0} }} udp sport 67 udp dport 68 accept".format(four))
        rules_out.append("ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept")
    if _LINK in leases:
        rules_in.append("ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept")
        rules_out.append("ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept")
    return rules_in, rules_out


def for_iptables(leases: list[Network], family: int) -> tuple[list[str], list[str]]:
    """Matches that let packets in and out."""
    mine = [network for network in leases if network.version == family]
    server, client, target = (67, 68, "255.255.255.255") if family == 4 else (547, 546, "ff02::1:2")
    if not mine:
        return [], []
    return (["-s {0} -p udp --sport {1} --dport {2}".format(network, server, client) for network in mine],
            ["-d {0} -p udp --sport {1} --dport {2}".format(target, client, server)])
