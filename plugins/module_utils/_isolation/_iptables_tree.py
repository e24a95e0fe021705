# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many networks in chains of iptables, so that a packet meets tens of rules instead of a thousand. Pure: runs nothing.

Sets would need ipset, which few hosts have. So networks that are near each other have a chain of their own, entered by the network
around them. It is entered by -g: what RETURNs there has left all of our chains at once, as from the first of them.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._policy import Network

MOST = 32  # networks in a row


class Passing(NamedTuple):
    """Packets that may pass: from ("-s") or to ("-d") one of `networks` (of one family, merged, ascending), and what else must hold."""

    side: str
    networks: list[Network]
    what: str

    def match(self, network: Network) -> str:
        """The match of one network."""
        return "{0} {1} {2}".format(self.side, network, self.what)


def around(networks: list[Network]) -> Network:
    """The smallest network that holds all of them."""
    first, last = networks[0], networks[-1]
    differ = int(first.network_address) ^ int(last.broadcast_address)
    prefix = min(first.max_prefixlen - differ.bit_length(), *(network.prefixlen for network in networks))
    return ipaddress.ip_network("{0}/{1}".format(first.network_address, prefix), strict=False)


def split(networks: list[Network], most: int = MOST) -> list[tuple[Network, list[Network]]]:
    """Networks that do not overlap and together hold all of `networks`, each with those that it holds, at most `most`."""
    whole = around(networks)
    if len(networks) <= most:
        return [(whole, networks)]
    _low, high = whole.subnets()
    border = int(high.network_address)
    middle = sum(1 for network in networks if int(network.network_address) < border)
    return split(networks[:middle], most) + split(networks[middle:], most)


def chain(name: str, head: list[str], passing: list[Passing | str], tail: list[str]) -> dict[str, list[str]]:
    """A chain and those that it goes on to: what is `passing` RETURNs, the rest comes to `tail`. Text passes as it stands.

    {name: rules}; the first is `name`, and the others' names begin with it.
    """
    few: list[str] = []
    many: list[Passing] = []
    for one in passing:
        if isinstance(one, str):
            few.append(one)
        elif len(one.networks) <= MOST:
            few += [one.match(network) for network in one.networks]
        else:
            many.append(one)
    found = {name: [*head, *(match + " -j RETURN" for match in few)]}
    at = name
    for number, one in enumerate(many, 1):
        after = "{0}-{1}".format(name, number)
        for place, (whole, part) in enumerate(split(one.networks, MOST), 1):
            if len(part) == 1:
                found[at].append(one.match(part[0]) + " -j RETURN")
                continue
            bucket = "{0}-{1}".format(after, place)
            found[at].append("{0} -g {1}".format(one.match(whole), bucket))
            found[bucket] = [*(one.match(network) + " -j RETURN" for network in part), "-g " + after]
        found[at].append("-g " + after)
        found[after] = []
        at = after
    found[at] += tail
    return found
