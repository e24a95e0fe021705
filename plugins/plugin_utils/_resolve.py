# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allow entries with names -> allow entries with addresses, on the controller.

A suspect host that resolved its own allow list would let the attacker's name server choose what stays open.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Sequence

from ansible_collections.firebreak.response.plugins.plugin_utils._errors import PolicyError

EXPECTED = (
    "an entry reads 'ADDRESS[/PREFIX] PORT/PROTOCOL [in]' or 'NAME PORT/PROTOCOL [in]', for instance '10.0.0.5 514/udp', "
    "'siem.example.com 6514/tcp', '2001:db8::/64 9100/tcp in' or '10.0.0.5 icmp'"
)
_ENTRY = re.compile(r"(\S+)\s+(?:([0-9]{1,5})/(tcp|udp)|(icmp))(?:\s+(in))?", re.ASCII)
# RFC 1123 names, with the underscore that real zones have; the last label is no number, so that a misspelt address is no name.
_NAME = re.compile(
    r"(?=.{1,253}\.?$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?",
    re.ASCII,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@functools.lru_cache(maxsize=1024)
def addresses(name: str) -> tuple[str, ...]:
    """All addresses of a name, IPv4 first, each family in order; asked once a process. Raises OSError, UnicodeError."""
    found: set[Address] = set()
    for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
        text = str(entry[4][0])
        if "%" not in text:  # a link-local address means another machine on every link
            found.add(ipaddress.ip_address(text))
    return tuple(str(address) for address in sorted(found, key=lambda address: (address.version, int(address))))


def _targets(option: str, entry: str, who: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_network(who)) if "/" in who else str(ipaddress.ip_address(who)),)
    except ValueError:
        pass
    if "/" in who or not _NAME.fullmatch(who):
        raise PolicyError(
            option, entry, f"{who!r} is no address, no network without host bits and no host name; {EXPECTED}"
        )
    try:
        found = addresses(who)
    except (OSError, UnicodeError):
        found = ()
    if not found:
        raise PolicyError(option, entry, f"the controller cannot resolve {who!r}; give the address, or mend the name")
    for text in found:
        address = ipaddress.ip_address(text)
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            raise PolicyError(
                option, entry, f"{who!r} is {text} on the controller, which is no other machine; give the address"
            )
    return found


def resolve(option: str, entries: Sequence[str]) -> list[str]:
    """The entries with every name replaced by its addresses, one entry each, without repetition, in order.

    Raises PolicyError that names `option`, the entry and what would be right.
    """
    resolved: dict[str, None] = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise PolicyError(option, entry, EXPECTED)
        who, port, protocol, icmp, direction = match.groups()
        if port is not None and not 1 <= int(port) <= 65535:
            raise PolicyError(option, entry, "a port is a number from 1 to 65535")
        service = icmp or f"{int(port)}/{protocol}"
        for target in _targets(option, entry, who):
            resolved[f"{target} {service}" + (" in" if direction else "")] = None
    return list(resolved)


def check_networks(option: str, entries: Sequence[str]) -> list[str]:
    """The entries, each an address or a network. Raises PolicyError that names `option` and the entry."""
    for entry in entries:
        try:
            ipaddress.ip_network(entry)
        except ValueError:
            try:
                right = f"write {ipaddress.ip_network(entry, strict=False)}"
            except ValueError:
                right = "an address or a network, for instance 10.0.0.9 or 10.0.0.0/24"
            raise PolicyError(option, entry, right) from None
    return list(entries)
