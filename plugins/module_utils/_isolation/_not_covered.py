# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an isolation neither closes nor looks at, for the result: always, and by what was found on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._policy import EGRESS, OBSERVE

if TYPE_CHECKING:
    from typing import Mapping

_COMMON = [
    "sockets that are no IP: AF_VSOCK to the hypervisor and its like",
    "connections of SCTP, DCCP and ping sockets: blocked, but neither counted nor ended",
    "address rewriting by others' nftables chains at the same outermost priorities as ours, planted before",
    "layer 2: ARP, and frames with an allowed address for another system on the same wire; network namespaces that only an open file or"
    " a mount elsewhere than in /run/netns holds",
    "layer 2: AF_PACKET sockets for every type of frame see what comes in before any rule does, so that a program with one can still be given"
    " orders, though no answer leaves",
    "containers and other network namespaces: what they send without being routed by this host (bridge ports, macvlan),"
    " and their own open sockets, which are blocked, and ended only where this host tracks their connections",
    "flowtables that forward past the rules; tcx programs where bpf(2) is refused to root",
    "connections that the host forwards for other systems: blocked, but their ends may take them up again after release",
    "root on the host who stops the unit that holds the rules, and network brought up in the initial RAM disk",
    "UDP and raw sockets without a fixed peer: what they send is rejected, but they stay open and could send again after release",
    "path MTU messages are taken from anybody; neighbour discovery and MLD reports go on with the link",
    "DHCP: a server that is not on the host's own link must be allowed by name ('ADDRESS 67/udp') where the host would lose its address",
    "preflight: ZFS, loop devices and overlays on network storage, iSCSI in an adapter's firmware, IPsec without an interface of its own,"
    " cluster programs in containers",
]
_IPTABLES = [
    "iptables: others' rules in earlier tables may rewrite the source of a packet before ours see it;"
    " the two families are loaded one after the other",
]
# By mode.
_LEFT_OPEN = {
    EGRESS: "mode egress: what comes in reaches the host's programs, so that they can still be given orders, though no answer leaves",
    OBSERVE: "mode observe: nothing is held back; packets are counted and connections listed, and they go on",
}
_WATCH = 5  # seconds, what is promised; the unit looks every other second


def not_covered(backend: str, proof: Mapping[str, object]) -> list[str]:
    """What this version neither closes nor looks at; `proof`: the mode, what was found of layer 2, and who holds the isolation."""
    found = [line for mode, line in _LEFT_OPEN.items() if proof.get("mode") == mode]
    found += _COMMON + (_IPTABLES if backend == "iptables" else [])
    if proof.get("leases"):
        found.append("DHCP: the address is leased, so calls of its client to the link pass, and answers of servers there")
    frames, held = proof.get("layer2"), proof.get("hold")
    if isinstance(frames, dict) and frames["cover"] == "none":
        found = ["layer 2: frames that never meet the IP layer (packet sockets, odd ethertypes): {0}".format(frames["why"]), *found]
    elif isinstance(frames, dict) and frames["cover"] == "tc":
        found = ["layer 2: frames of packet sockets that go past the queue (QDISC_BYPASS), which tc does not see: {0}".format(frames["why"]), *found]
    if isinstance(frames, dict) and frames["cover"] != "none" and frames["open"]:
        found = ["layer 2: frames of {0} interfaces, which proof.layer2.open names".format(len(frames["open"])), *found]
    if isinstance(held, dict) and proof.get("confirmed"):
        why = " ({0})".format(held["why"]) if held["why"] else ""
        if not held["persist"]:
            found.append("persist: the rules are gone after a reboot" + why)
        if not held["watch"]:
            found.append("watch: rules that root, another firewall's reload or 'nft flush ruleset' removes are not put back" + why)
            if proof.get("interfaces"):
                found.append("interfaces_down: nothing takes down again what others take up" + why)
        elif not held["owner"]:
            found.append("watch: rules that are removed are put back within {0} seconds, not at once: nft knows no tables with an owner".format(_WATCH))
    return found
