# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may still pass: allow entries and management networks become a plan that rules are rendered from."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple, Union

from .._errors import HostError, OptionError

if TYPE_CHECKING:
    from typing import Mapping, Sequence

    from .._host._session import Session
    from .._host._sockets import Socket

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
_FORM = 'must be "ADDRESS[/PREFIX] PORT/tcp|udp [in]" or "ADDRESS[/PREFIX] icmp [in]", such as "10.0.0.5 514/udp"'
# Where no session tells on which port sshd answers (IANA, service name ssh); said in the documentation of `management`.
_SSH = 22
_DHCP = 67  # RFC 2131
_SILENT = 64  # addresses: an attacker may give his programs as many peers as he likes
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
# What is held back: everything that is not allowed; what leaves; nothing, but it is counted and logged.
FULL, EGRESS, OBSERVE = MODES = ("full", "egress", "observe")
# Connection plugins that reach the host without a network, so that none is missed where no session is found.
LOCAL_TRANSPORTS = ("local", "ansible.builtin.local")


class PolicyError(OptionError):
    """An entry of the policy that cannot be used; names option, value and what would be right."""


class Allow(NamedTuple):
    """One system that stays reachable. protocol: tcp, udp, icmp; port: None for icmp; direction: who begins, seen from the host."""

    network: Network
    protocol: str
    port: int | None
    direction: str

    def text(self) -> str:
        """The one text form."""
        what = "icmp" if self.port is None else "{0}/{1}".format(self.port, self.protocol)
        return "{0} {1}{2}".format(_short(self.network), what, " in" if self.direction == "in" else "")


def _short(network: Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def parse_network(option: str, value: str, entry: str | None = None) -> Network:
    """An address or network of one family. Raises PolicyError: also for what is everything, a host name, or has host bits."""
    shown = value if entry is None else entry
    if "%" in value:
        raise PolicyError(option, shown, "write a link-local address without its zone")
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise PolicyError(
            option, shown, "must begin with an IPv4 or IPv6 address or network (names are resolved on the controller)"
        ) from error
    if network.prefixlen == 0:
        raise PolicyError(option, shown, "a network of prefix length 0 is everybody; name the systems")
    if network.is_multicast or network.is_unspecified:
        raise PolicyError(option, shown, "must be the address of a system, not a multicast or unspecified one")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise PolicyError(option, shown, "write an IPv4-mapped address as IPv4")
    return network


def parse_allow(entries: list[str]) -> list[Allow]:
    """The entries of option `allow`. Raises PolicyError naming the first one that cannot be used."""
    found = []
    for entry in entries:
        fields = str(entry).split()
        direction = "out"
        if len(fields) == 3 and fields[2] in ("in", "out"):
            direction = fields.pop()
        if len(fields) != 2:
            raise PolicyError("allow", entry, _FORM)
        network = parse_network("allow", fields[0], str(entry))
        if fields[1] == "icmp":
            found.append(Allow(network, "icmp", None, direction))
            continue
        port, _slash, protocol = fields[1].partition("/")
        if protocol not in ("tcp", "udp") or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise PolicyError("allow", entry, _FORM + ", the port from 1 to 65535")
        found.append(Allow(network, protocol, int(port), direction))
    return found


class Plan:
    """What may pass. management: networks that reach `ports` over TCP; allow: list of Allow; session: of the run that made it;
    mode: one of MODES; leases: where servers of leased addresses may answer from; silent: single addresses to which is dropped
    without a word what is refused elsewhere."""

    def __init__(
        self, management: list[Network], ports: list[int], allow: list[Allow], session: Session, mode: str = FULL,
        leases: list[Network] | None = None,
    ) -> None:
        self.mode = mode
        self.leases = collapse(leases or [])
        self.management = collapse(management)
        self.ports = sorted(set(ports))
        self.allow = sorted(set(allow), key=lambda entry: (entry.network.version, entry[0], *map(str, entry[1:])))
        self.session = session
        self.silent: list[Network] = []

    def silence(self, addresses: Sequence[object]) -> bool:
        """Take in more `silent` addresses; whether there were any. Those that may talk with the host in some form are none.

        The list comes from the host: what is no address is left out, and it can only ever turn a refusal into silence.
        """
        if not addresses:  # most hosts have none, and thousands of networks are not merged for nothing
            return False
        peers, found = self.peers(), set(self.silent)
        for text in sorted({str(address) for address in addresses}):
            try:
                network = ipaddress.ip_network(text)
            except ValueError:
                continue
            one = network.network_address
            if network.num_addresses == 1 and len(found) < _SILENT and not (one.is_loopback or one.is_multicast or one.is_unspecified) and not any(
                    one in peer for peer in peers):
                found.add(network)
        before, self.silent = self.silent, sorted(found, key=lambda network: (network.version, int(network.network_address)))
        return self.silent != before

    def widened(self) -> Plan | None:
        """The plan with the live peer too, where a list of management systems took his place; None where he is in it."""
        peer = self.session.peer_address
        if not peer or not self.ports:
            return None
        management = collapse([*self.management, parse_network("management", peer)])
        if management == self.management:
            return None
        wider = Plan(management, self.ports, self.allow, self.session, self.mode, self.leases)
        wider.silence(self.silent)
        return wider

    def least(self) -> Plan:
        """The management path alone, and what keeps the host's address."""
        return Plan(self.management, self.ports, [], self.session, self.mode, self.leases)

    def groups(self) -> dict[tuple[str, int | None, str], list[Network]]:
        """The networks of each (protocol, port, direction), merged, in a fixed order."""
        grouped: dict[tuple[str, int | None, str], list[Network]] = {}
        for entry in self.allow:
            grouped.setdefault((entry.protocol, entry.port, entry.direction), []).append(entry.network)
        return {key: collapse(grouped[key]) for key in sorted(grouped, key=lambda key: (key[0], key[1] or 0, key[2]))}

    def peers(self) -> list[Network]:
        """Every network that may talk to the host in some form, merged."""
        return collapse(self.management + [entry.network for entry in self.allow])

    @property
    def guarded(self) -> list[int]:
        """Ports of the way in that nobody on the host itself may call: whoever holds all of sshd's places keeps the confirmation out.

        None where the way in leads over the host itself (a tunnel, a jump through its own sshd).
        """
        session = self.session
        to_itself = session.source != "none" and session.peer_address == session.server_address
        local = to_itself or any(network.overlaps(own) for network in self.management for own in _LOOPBACK)
        return [] if local else self.ports

    @property
    def caller(self) -> str:
        """The live peer, where the management path lets him in; else "": that he knocks in vain is the list's doing then, no sabotage."""
        peer = self.session.peer_address
        return peer if peer and any(ipaddress.ip_address(peer) in network for network in self.management) else ""

    def is_session(self, socket: Socket) -> bool:
        """Whether this is the connection that carries the run."""
        session = self.session
        mine = (session.peer_address, session.peer_port, session.server_address, session.server_port)
        return session.source != "none" and socket.protocol == "tcp" and mine == (
            socket.remote_address, socket.remote_port, socket.local_address, socket.local_port)

    def allows(self, socket: Socket) -> bool:
        """Whether the rules let this socket's traffic pass. What stays on the host (loopback, to itself) does."""
        try:
            remote = ipaddress.ip_address(socket.remote_address.partition("%")[0])
        except ValueError:
            return False
        if remote.is_loopback or socket.remote_address == socket.local_address:
            return True
        protocol = socket.protocol
        if protocol == "tcp" and socket.local_port in self.ports and any(remote in network for network in self.management):
            return True
        if protocol == "raw":
            protocol = "icmp" if socket.local_port in (1, 58) else "raw"
        for entry in self.allow:
            if entry.protocol != protocol or remote not in entry.network:
                continue
            if entry.port is None or entry.port == (
                    socket.remote_port if entry.direction == "out" else socket.local_port):
                return True
        return False

    def as_dict(self) -> dict[str, object]:
        """Plain data, as `from_dict` takes it."""
        return {
            "management": [str(network) for network in self.management],
            "ports": self.ports,
            "allow": [entry.text() for entry in self.allow],
            "mode": self.mode,
            "leases": [str(network) for network in self.leases],
            **({"silent": [_short(network) for network in self.silent]} if self.silent else {}),
        }


def from_dict(data: dict[str, object], session: Session) -> Plan:
    """The plan that `as_dict` wrote. Raises PolicyError or HostError where it is not one."""
    management, ports, allow, leases = (data.get(key) for key in ("management", "ports", "allow", "leases"))
    mode = data.get("mode")
    if not (isinstance(management, list) and isinstance(ports, list) and isinstance(allow, list) and isinstance(leases, list)) or (
            mode not in MODES):
        raise HostError("the plan in the work folder is damaged")
    try:
        networks = [parse_network("management", str(value)) for value in management]
        links = [ipaddress.ip_network(str(value)) for value in leases]
        plan = Plan(networks, [int(str(port)) for port in ports], parse_allow([str(entry) for entry in allow]), session, str(mode), links)
    except ValueError as error:
        raise HostError("the plan in the work folder is damaged") from error
    plan.silence(silent_of(data))
    return plan


def silent_of(plan: object) -> list[object]:
    """The silent addresses in a plan's plain data; most have none."""
    found = plan.get("silent") if isinstance(plan, dict) else None
    return found if isinstance(found, list) else []


def way_in(plan: Plan | None, options: Mapping[str, object], changed: bool) -> tuple[str, list[str]]:
    """What a run would come to as far as the way in is concerned, and why: a list of management systems may leave out who asks.

    `changed`: the rules of the plan are not in force yet.
    """
    if plan is not None and plan.mode == OBSERVE:
        return "reported", []
    if plan is None or not changed or plan.widened() is None:
        return "contained", []
    lost = "management does not hold {0}, by which the controller reaches the host, so that the way in would be lost: after {1} seconds ".format(
        plan.session.peer_address, options["confirm_within"])
    if options["on_management_lost"] == "release":
        return "failed", [lost + "the host would take the whole cut back (on_management_lost: release)"]
    then = "stay cut" if options["then"] == "hold" else "take the cut back"
    return "partial", [lost + "SSH would be opened to it too, with the rest still cut (on_management_lost: widen); should nobody get in by that "
                       "either, the host would {0} (then: {1})".format(then, options["then"])]


def collapse(networks: list[Network]) -> list[Network]:
    """Without duplicates and overlaps, IPv4 first, ascending."""
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def make_plan(
    session: Session, allow: list[Allow] | list[str], management: list[str], management_networks: list[str],
    transport: str, mode: str = FULL, leases: list[Network] | None = None,
) -> Plan:
    """The plan of a run. `management` replaces the live peer; `management_networks` are added to either. A DHCP server that `allow`
    names stands for all others.

    Raises PolicyError for entries that cannot be used, HostError where a network transport has no session to keep.
    """
    entries = [entry if isinstance(entry, Allow) else parse_allow([entry])[0] for entry in allow]
    networks = [parse_network("management", value) for value in management]
    if session.source == "none":
        if transport not in LOCAL_TRANSPORTS and transport.rpartition(".")[2] in ("ssh", "paramiko", "paramiko_ssh", "libssh"):
            raise HostError(
                "management path: no SSH connection was found above this run, so the way back in cannot be kept; "
                "nothing was changed"
            )
    elif not networks:
        networks = [parse_network("management", session.peer_address)]
    networks += [parse_network("management_networks", value) for value in management_networks]
    named = [entry.network for entry in entries if (entry.protocol, entry.port, entry.direction) == ("udp", _DHCP, "out")]
    if named and leases:
        leases = [*named, *(network for network in leases if network.version != 4)]
    return Plan(networks, [session.server_port or _SSH] if networks else [], entries, session, mode, leases)
