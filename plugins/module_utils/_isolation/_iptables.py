# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan -> text for iptables-restore, and what iptables-save tells. Pure: runs nothing.

Allowed packets RETURN instead of being accepted, so that the host's own rules still have their say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import _leases
from ._iptables_tree import Passing, chain as tree
from ._nftables import DIRECTIONS, LOGGED
from ._policy import EGRESS, OBSERVE

if TYPE_CHECKING:
    from typing import Collection, Iterable

    from ._policy import Network, Plan

# Table, built-in chain, our chain. POSTROUTING looks again after destination NAT, as filter's OUTPUT knows only the
# interface that a packet was meant for before.
HOOKS = (
    ("filter", "INPUT", "FIREBREAK-INPUT"),
    ("filter", "FORWARD", "FIREBREAK-FORWARD"),
    ("filter", "OUTPUT", "FIREBREAK-OUTPUT"),
    ("mangle", "POSTROUTING", "FIREBREAK-LEAVING"),
)
# The built-in chains that iptables-nft makes when it first touches a table.
BUILTINS = (
    ("mangle", ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")),
    ("filter", ("INPUT", "FORWARD", "OUTPUT")),
)
_CHAIN = re.compile(r"^:(FIREBREAK-[A-Z0-9-]+) ", re.MULTILINE)
_TARGET = re.compile(r" -[jg] (FIREBREAK-[A-Z0-9-]+)$")
_CASE = re.compile(r'--comment "?case ([A-Za-z0-9._-]{1,64})"?')
_WOULD = "would be cut"
_COUNTER = re.compile(r'^\[(\d+):\d+\] -A FIREBREAK-(\w+)[0-9-]* .*--comment "{0}"'.format(_WOULD), re.MULTILINE)
_ANSWER = " ! --tcp-flags SYN,ACK SYN"
# How many packets the rule that counts the responder's connections has seen, in the output of iptables-save -c; iptables 1.8.7 (Debian
# 11) writes a blank where a rule has no target.
COUNTED = r"^\[(\d+):\d+\] -A FIREBREAK-INPUT .*--tcp-flags SYN,ACK SYN ?$"


def _rules(plan: Plan, family: int) -> tuple[list[Passing | str], list[Passing | str]]:
    """What may come in and go out."""
    rules_in: list[Passing | str] = []
    rules_out: list[Passing | str] = []
    groups: list[tuple[str, int | None, str, list[Network]]] = [("tcp", port, "in", plan.management) for port in plan.ports]
    groups += [(*key, networks) for key, networks in plan.groups().items()]
    for protocol, port, direction, networks in groups:
        answer = _ANSWER if protocol == "tcp" else ""
        if protocol == "icmp":
            kind, ask, reply = ("icmp --icmp-type", 8, 0) if family == 4 else ("icmpv6 --icmpv6-type", 128, 129)
            first, second = (reply, ask) if direction == "out" else (ask, reply)
            match_in, match_out = "-p {0} {1}".format(kind, first), "-p {0} {1}".format(kind, second)
        elif direction == "out":
            match_in = "-p {0} --sport {1}{2}".format(protocol, port, answer)
            match_out = "-p {0} --dport {1}".format(protocol, port)
        else:
            match_in = "-p {0} --dport {1}".format(protocol, port)
            match_out = "-p {0} --sport {1}{2}".format(protocol, port, answer)
        mine = [network for network in networks if network.version == family]
        rules_in.append(Passing("-s", mine, match_in))
        rules_out.append(Passing("-d", mine, match_out))
    lease_in, lease_out = _leases.for_iptables(plan.leases, family)
    rules_in += lease_in
    rules_out += lease_out
    if family == 4:
        rules_in.append("-p icmp --icmp-type 3/4")
        return rules_in, rules_out
    peers: list[Network] = [network for network in plan.peers() if network.version == 6]
    hop = "-p icmpv6 --icmpv6-type {0} -m hl --hl-eq {1}"
    rules_in += ["-s {0} {1}".format(source, hop.format(kind, 255)) for source, kinds in (("fe80::/10", (134, 135)), ("::/128", (135,)))
                 for kind in kinds]
    rules_in.append(Passing("-s", peers, hop.format(135, 255)))
    # A router that the host knows by a global address answers from that one (RFC 4861, section 7.2.4).
    rules_in.append(hop.format(136, 255))
    rules_in += ["-s fe80::/10 " + hop.format(130, 1), "-p icmpv6 --icmpv6-type 2"]
    rules_out += ["-d {0} {1}".format(target, hop.format(kind, 255)) for target in ("fe80::/10", "ff02::/16") for kind in (133, 135, 136)]
    rules_out += [Passing("-d", peers, hop.format(kind, 255)) for kind in (135, 136)]
    rules_out += ["-d ff02::/16 " + hop.format(kind, 1) for kind in (131, 132, 143)]
    return rules_in, rules_out


def chains(plan: Plan, case: str, family: int) -> dict[str, list[str]]:
    """The rules of each of our chains, without the "-A CHAIN"."""
    passing_in, passing_out = _rules(plan, family)
    peer = plan.caller
    knocks = ["-s {0} -p tcp --dport {1} --tcp-flags SYN,ACK SYN".format(peer, port)
              for port in plan.ports if peer and (":" in peer) == (family == 6)]
    guard = ["-o lo -p tcp --dport {0} --tcp-flags SYN,ACK SYN -j REJECT --reject-with tcp-reset".format(port) for port in plan.guarded]
    mine = '-i lo -m comment --comment "case {0}" -j RETURN'.format(case)
    if plan.mode == OBSERVE:
        seen = {chain: ['-m comment --comment "{0}"'.format(_WOULD),
                        '-m limit --limit {0}/sec -j LOG --log-prefix "firebreak observe {1}: "'.format(LOGGED, direction)]
                for chain, direction in DIRECTIONS}
        return {**tree("FIREBREAK-INPUT", [mine], passing_in, seen["input"]), "FIREBREAK-FORWARD": seen["forward"],
                **tree("FIREBREAK-OUTPUT", ["-o lo -j RETURN"], passing_out, seen["output"]), "FIREBREAK-LEAVING": []}
    # As in _nftables: what iptables-nft matches as a port of a later fragment is its data.
    fragments = ["-f -j DROP"] if family == 4 else []
    silent = ["-d {0} -j DROP".format(network) for network in plan.silent if network.version == family]
    refusal = "icmp-admin-prohibited" if family == 4 else "icmp6-adm-prohibited"
    entering = {"FIREBREAK-INPUT": [mine, *knocks]} if plan.mode == EGRESS else tree("FIREBREAK-INPUT", [mine, *knocks], passing_in, ["-j DROP"])
    return {
        **entering, "FIREBREAK-FORWARD": ["-j DROP"],
        **tree("FIREBREAK-OUTPUT", [*guard, "-o lo -j RETURN", *fragments], passing_out, [
            *silent, "-p tcp -j REJECT --reject-with tcp-reset", "-j REJECT --reject-with " + refusal]),
        **tree("FIREBREAK-LEAVING", ["-o lo -j RETURN", *fragments], passing_out, ["-j DROP"]),
    }


def render(plan: Plan, case: str, family: int, live: str) -> str:
    """Text for `iptables-restore --noflush` that puts our chains first; `live` is what iptables-save says now."""
    lines = []
    wanted = chains(plan, case, family)
    for table in ("mangle", "filter"):  # what leaves is closed before what comes in
        lines.append("*" + table)
        rules = {name: rules for name, rules in wanted.items() if _table_of(name) == table}
        lines += [":{0} - [0:0]".format(name) for name in rules]
        lines += ["-A {0} {1}".format(name, rule) for name in rules for rule in rules[name]]
        for _table, builtin, chain in [hook for hook in HOOKS if hook[0] == table]:
            jumps = jumps_of(live, table, builtin)
            jump = "-A {0} -j {1}".format(builtin, chain)
            if jumps[:1] != [jump]:
                lines += ["-D {0} -j {1}".format(builtin, chain)] * jumps.count(jump)
                lines.append("-I {0} 1 -j {1}".format(builtin, chain))
        lines.append("COMMIT")
    return without("\n".join(lines) + "\n", names_of(live), led_to(live))


def _table_of(name: str) -> str:
    """The table of one of our chains."""
    return next(table for table, _builtin, chain in HOOKS if (name + "-").startswith(chain + "-"))


def names_of(text: str) -> list[str]:
    """Our chains in iptables-save's output, or in text for iptables-restore."""
    return [name for name in _CHAIN.findall(text) if any((name + "-").startswith(chain + "-") for _table, _builtin, chain in HOOKS)]


def led_to(save: str) -> set[str]:
    """Our chains that rules of others lead to, in iptables-save's output: whoever tries to remove one is refused."""
    ours_to_lead = {"-A {0} -j {1}".format(builtin, chain) for _table, builtin, chain in HOOKS}
    return {found.group(1) for rules in sections(save).values() for rule in rules
            for found in [_TARGET.search(rule)] if found is not None and rule not in ours_to_lead and not rule.startswith("-A FIREBREAK-")}


def removed(text: str, names: Iterable[str]) -> str:
    """Text for iptables-restore that removes those of our chains that are there (`names`), empty, and not in `text`; "" for none."""
    wanted, lines = set(names_of(text)), []
    for table in dict.fromkeys(hook[0] for hook in HOOKS):
        gone = ["-X " + name for name in names if name not in wanted and _table_of(name) == table]
        lines += ["*" + table, *gone, "COMMIT"] if gone else []
    return "".join(line + "\n" for line in lines)


def without(text: str, names: Iterable[str], kept: Collection[str] = ()) -> str:
    """Text for iptables-restore that also takes those of our chains away that are there (`names`) and not in it; of those that are
    `kept` the rules alone."""
    wanted = set(names_of(text))
    gone = [name for name in names if name not in wanted]
    lines = []
    table = ""
    for line in text.splitlines():
        lines += ["-X " + name for name in gone if line == "COMMIT" and _table_of(name) == table and name not in kept]
        lines.append(line)
        if line.startswith("*"):
            table = line[1:]
            lines += [":{0} - [0:0]".format(name) for name in gone if _table_of(name) == table]  # empties it
    return "\n".join(lines) + "\n"


def sections(save: str) -> dict[str, list[str]]:
    """The "-A" lines of each table of iptables-save's output."""
    found: dict[str, list[str]] = {}
    rules: list[str] = []
    for line in save.splitlines():
        if line.startswith("*"):
            rules = found.setdefault(line[1:].strip(), [])
        elif line.startswith("-A "):
            rules.append(line.strip())
    return found


def jumps_of(save: str, table: str, builtin: str) -> list[str]:
    """The rules of one built-in chain, in order."""
    return [rule for rule in sections(save).get(table, []) if rule.startswith("-A {0} ".format(builtin))]


def ours(save: str) -> str:
    """Our part of iptables-save's output: the rules of our chains, and whether each is jumped to first. "" for none."""
    lines = []
    names = sorted(names_of(save))
    for table, builtin, chain in HOOKS:
        rules = sections(save).get(table, [])
        here = [name for name in names if (name + "-").startswith(chain + "-")]
        mine = [rule for name in here or [chain] for rule in rules if rule.startswith("-A {0} ".format(name))]
        jumps = jumps_of(save, table, builtin)
        jump = "-A {0} -j {1}".format(builtin, chain)
        if jump in jumps:
            mine.insert(0, jump if jumps[0] == jump else jump + " (not first)")
        if mine or here:
            lines += ["*" + table, *mine]
    return "\n".join(lines) + "\n" if lines else ""


def counted(saves: list[str]) -> dict[str, int]:
    """Packets that would have been cut, by direction, of the outputs of iptables-save -c and ip6tables-save -c."""
    names = {chain.upper(): direction for chain, direction in DIRECTIONS}
    packets = dict.fromkeys(names.values(), 0)
    for save in saves:
        for count, chain in _COUNTER.findall(save):
            if chain in names:
                packets[names[chain]] += int(count)
    return packets


def unhook(names: Iterable[str] = ()) -> list[list[str]]:
    """Arguments of the iptables calls that take our chains and nothing else away; each fails where there is nothing.

    `names`: those of our chains that are there, where they are more than the four that are jumped to.
    """
    calls = []
    for table in dict.fromkeys(hook[0] for hook in HOOKS):
        hooks = [hook for hook in HOOKS if hook[0] == table]
        here = [chain for _table, _builtin, chain in hooks]
        here += [name for name in names if name not in here and _table_of(name) == table]
        calls += [["-t", table, "-D", builtin, "-j", chain] for _table, builtin, chain in hooks]
        calls += [["-t", table, what, name] for what in ("-F", "-X") for name in here]
    return calls


def unhook_at_once(names: Iterable[str] = ()) -> str:
    """The same for iptables-restore, a transaction a table, which is refused where something is not as we made it."""
    lines: list[str] = []
    for _option, table, *call in unhook(names):
        if "*" + table not in lines:
            lines += ["COMMIT", "*" + table]
        lines.append(" ".join(call))
    return "\n".join([*lines[1:], "COMMIT"]) + "\n"


def holder(listing: str) -> str | None:
    """The case whose isolation `ours` shows; "" where none is named, None where there is none."""
    if not listing.strip():
        return None
    found = _CASE.search(listing)
    return found.group(1) if found else ""
