# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways out of a host and into it: which there are, in which ways each is tried, and what the programs at their ends are told.

Ways: "live", over what was open before the isolation and is used all the time; "new", opened anew each time; "in", what the far end sends
into the host over the live ones, as far as it reaches the program there.
"""

from __future__ import annotations

from tests.lab import network

LIVE, NEW, IN = "live", "new", "in"
_ALL = (LIVE, NEW, IN)
_BOTH = ("tcp", "tcp-53", "udp", "udp-53", "sctp", "gre", "ip-in-ip", "fragments", "icmp-with-payload")
OUT = {f"{name}-ipv{version}": _ALL for name in _BOTH for version in (4, 6)} | {
    "neighbour-tcp": _ALL, "neighbour-udp": _ALL, "neighbour-ipv6": _ALL, "link-local-ipv6": _ALL,
    "multicast-ipv4": _ALL, "multicast-ipv6": _ALL, "broadcast": _ALL, "broadcast-of-the-network": (LIVE, NEW),
    "metadata-address": (NEW,), "metadata-address-udp": (LIVE, NEW),  # nobody answers there
    # What looks like an answer of the responder's way in, or of an allowed system.
    "source-port-22-first-packet": (LIVE, NEW), "source-port-22-answer": (LIVE, NEW), "source-port-514": _ALL, "spoofed-source": (LIVE, NEW),
    "user-of-an-allowed-daemon": _ALL,
    "allowed-system-other-port-tcp": _ALL, "allowed-system-other-port-udp": _ALL, "allowed-system-other-protocol": _ALL,
    "container-behind-a-bridge-tcp": _ALL, "container-behind-a-bridge-udp": _ALL, "container-published-port": _ALL,
    "second-interface": _ALL, "macvlan": (LIVE, NEW), "interface-added-later": (NEW,),
}
# What a packet socket puts on the wire by itself, or gets from it.
FRAMES = {
    "packet-socket-ipv4": _ALL, "packet-socket-ipv6": _ALL, "packet-socket-past-the-queue": (LIVE, NEW), "odd-ethertype": _ALL,
    "vlan-tag": (LIVE, NEW), "ethertype-not-as-told": (LIVE, NEW), "frame-by-a-second-interface": (LIVE, NEW),
    "frame-by-an-interface-added-later": (NEW,), "frame-by-a-macvlan": (LIVE, NEW), "macvlan-in-another-namespace": (LIVE, NEW),
    "packet-socket-that-hears-all": (IN,),
}
# Who calls; what the host answers is heard.
INBOUND = {
    "inbound-ssh-from-a-neighbour": (NEW,), "inbound-ssh-from-the-internet": (NEW,), "inbound-ssh-ipv6": (NEW,),
    "inbound-9100-from-a-neighbour": (NEW,), "inbound-9100-from-the-internet": (NEW,), "inbound-closed-port": (NEW,), "inbound-udp": (NEW,),
    "inbound-ping": (LIVE, NEW), "inbound-tcp-from-a-neighbour": _ALL, "inbound-tcp-from-the-internet": _ALL, "inbound-tcp-ipv6": _ALL,
    "inbound-udp-to-a-program": _ALL,
}
CHANNELS = {**OUT, **FRAMES, **INBOUND}
# What no rule of a host's can hold back -> the words by which the proof must name it.
PAST = {"af-xdp": "AF_XDP sockets", "xdp-tx": "XDP program", "tcx-redirect": "tcx programs", "interface-moved-away": "network namespace"}
NUMBERS = {name: number for number, name in enumerate((*CHANNELS, *PAST), 1)}
ELSE = "anything-else"  # what comes out of the host and belongs to no channel
# Frames by an interface that comes later are held back once the unit has seen it, within five seconds.
LATER = ("frame-by-an-interface-added-later",)
# "L", "N": the first port of a way, to which the channel's number is added.
PORTS = {"L": 21000, "N": 22000, "far": 8450, "door": 9300, "published": 8081, "group": 8451, "other": 7777, "exporter": 9100}
EVERY = 0.25  # seconds between what is sent on each channel

_MAC = "02:66:00:00:00:{:02x}"
_CLOSED = 7778


def link_local(role: str) -> str:
    """What follows from the hardware address that the lab gives (RFC 4291, appendix A)."""
    return f"fe80::66:ff:fe00:{network.LAN[role]:x}"


def _peers() -> dict[str, dict[str, str]]:
    """To whom the channels lead: name -> way -> address. New ones go elsewhere where a firewall would know them by the live one."""
    four, six, link = network.address("neighbour"), network.address6("neighbour"), link_local("neighbour")
    same = {"neighbour4": four, "neighbour6": six, "link": link, "metadata": "169.254.169.254", "monitoring": network.MONITORING,
            "group4": "239.1.1.1", "group6": "ff02::1:ff66:6666", "everybody": "255.255.255.255", "network": "10.66.0.255",
            "second": "10.67.0.1", "later": "10.69.0.255", "beside": "10.68.0.255"}
    return {**{name: {"L": to, "N": to} for name, to in same.items()},
            "internet4": {"L": network.C2, "N": network.SCANNER}, "internet6": {"L": network.C2_6, "N": "2001:db8:66::67"}}


COMMON: dict[str, object] = {"numbers": NUMBERS, "ports": PORTS, "tick": EVERY}


def host_config(host: str) -> dict[str, object]:
    """For at_host.py."""
    live = [name for name, ways in CHANNELS.items() if LIVE in ways or IN in ways]
    return {**COMMON, "peers": _peers(), "own": network.address(host), "own6": network.address6(host),
            "responder": network.address("controller"), "live": live, "new": [name for name, ways in CHANNELS.items() if NEW in ways]}


def wire_config(host: str, devices: list[str]) -> dict[str, object]:
    """For at_wire.py."""
    allowed = [one(role) for role in ("controller", "monitoring") for one in (network.address, network.address6)]
    return {"devices": devices, "allowed": allowed, "ports": PORTS, "most": len(CHANNELS)}


def far_configs(host: str) -> dict[str, dict[str, object]]:
    """For at_far_end.py: role -> what it is told."""
    four, six = network.address(host), network.address6(host)
    near, near6 = network.address("neighbour"), network.address6("neighbour")
    door, ssh, exporter = PORTS["door"], 22, PORTS["exporter"]
    nobody: dict[str, object] = {
        **COMMON, "serves": [], "raw": [], "says": [], "frames": [], "calls": [], "pings": [], "knocks": [], "mac": ""}
    bodies = {"sctp": (132, "0009000900000000" + "00000000"), "gre": (47, "00000000"), "ip-in-ip": (4, "")}
    raw = [(family, protocol, head, f"{name}-ipv{version}", to) for name, (protocol, head) in bodies.items()
           for family, version, to in ((2, 4, four), (10, 6, six))]
    raw += [(2, 1, "0000000000010001", "icmp-with-payload-ipv4", four), (10, 58, "8100000000010001", "icmp-with-payload-ipv6", six)]
    mac = _MAC.format(network.LAN[host]).replace(":", "")
    return {
        "internet": {**nobody, "serves": [PORTS["far"], 53], "raw": raw,
                     "calls": [("tcp", "inbound-tcp-from-the-internet", network.C2, four, door)],
                     "knocks": [("tcp", name, network.SCANNER, four, port) for name, port in (
                         ("inbound-ssh-from-the-internet", ssh), ("inbound-9100-from-the-internet", exporter),
                         ("inbound-tcp-from-the-internet", door))]},
        "neighbour": {**nobody, "serves": [PORTS["far"]], "mac": mac, "four": [near, four], "six": [near6, six],
                      "says": [("multicast-ipv4", "239.1.1.1"), ("multicast-ipv6", "ff02::1:ff66:6666"), ("broadcast", "255.255.255.255")],
                      "frames": [("0800", "packet-socket-ipv4"), ("86dd", "packet-socket-ipv6"), ("88b5", "odd-ethertype"),
                                 ("88b6", "packet-socket-that-hears-all")],
                      "calls": [("tcp", "inbound-tcp-from-a-neighbour", near, four, door), ("tcp", "inbound-tcp-ipv6", near6, six, door),
                                ("udp", "inbound-udp-to-a-program", near, four, door),
                                ("tcp", "container-published-port", near, four, PORTS["published"])],
                      "pings": [("inbound-ping", four)],
                      "knocks": [*(("tcp", name, near, four, port) for name, port in (
                          ("inbound-ssh-from-a-neighbour", ssh), ("inbound-9100-from-a-neighbour", exporter),
                          ("inbound-closed-port", _CLOSED), ("inbound-tcp-from-a-neighbour", door), ("container-published-port", PORTS["published"]))),
                          ("tcp", "inbound-ssh-ipv6", near6, six, ssh), ("tcp", "inbound-tcp-ipv6", near6, six, door),
                          ("udp", "inbound-udp", near, four, _CLOSED), ("udp", "inbound-udp-to-a-program", near, four, door),
                          ("ping", "inbound-ping", near, four, 0)]},
        "monitoring": {**nobody, "serves": [PORTS["other"]],
                       "raw": [(2, 47, "00000000", "allowed-system-other-protocol", four)]},
        "wire": {**nobody, "serves": [PORTS["far"]]},
    }


# Deletes every entry (IPCTNL_MSG_CT_DELETE without a tuple, linux/netfilter/nfnetlink_conntrack.h), as `conntrack -F` does.
FORGET = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
assert struct.unpack_from("=i", s.recv(4096), 16)[0] == 0
"""
