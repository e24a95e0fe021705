# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network: sockets with their owners, links, addresses, routes, neighbours, and the firewall."""

from __future__ import annotations

from .._host._files import read_proc
from .._host._sockets import read_tables, sockets_of
from ._commands import Command, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._host._sockets import Socket
    from ._bundle import Bundle
    from ._context import Context

FOLDER = "live_response/network/"
SOCKET_FILES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6", "packet", "unix", "netlink")
# nf_conntrack: what an isolation deletes of it later was only seen here.
STATE_FILES = ("arp", "dev", "route", "ipv6_route", "if_inet6", "snmp", "netstat", "sockstat", "fib_trie", "igmp", "nf_conntrack")
_FILE_BYTES = 33554432
_RULES_BYTES = 16777216


def _raw(bundle: Bundle, names: tuple[str, ...], base: str, member: str, known: Mapping[str, bytes] | None = None) -> None:
    """The kernel's own files below `base`; those that are `known` are not read again."""
    for name in names:
        path = "{0}/{1}".format(base, name)
        data = known[name][:_FILE_BYTES] if known is not None and name in known else read_proc(path, _FILE_BYTES)
        if data:
            cut = len(data) >= _FILE_BYTES
            bundle.add_bytes(
                member + name, data, path, outcome="partial" if cut else "complete",
                why="cut at {0} bytes".format(_FILE_BYTES) if cut else "",
            )


def _records(context: Context, sockets: list[Socket], namespace: str | None) -> list[dict[str, object]]:
    owners = context.owners
    processes = context.processes
    records: list[dict[str, object]] = []
    for one in sockets:
        pids = owners.get(one.inode, [])
        records.append(
            {
                "protocol": one.protocol, "family": one.family, "local_address": one.local_address,
                "local_port": one.local_port, "remote_address": one.remote_address, "remote_port": one.remote_port,
                "state": one.state, "uid": one.uid, "inode": one.inode, "namespace": namespace, "pids": pids,
                "owners": [
                    {"pid": pid, "comm": processes[pid].name, "exe": processes[pid].exe} for pid in pids if pid in processes
                ],
            }
        )
    return records


def take_sockets(bundle: Bundle, context: Context) -> None:
    """Sockets of our network namespace."""
    own = context.namespace("self", "net") if context.live else None
    records = _records(context, context.sockets, own)
    _raw(bundle, SOCKET_FILES, context.proc + "/net", "[root]/proc/net/", context.tables)
    _add(bundle, context, "sockets", records)


def take_namespace_sockets(bundle: Bundle, context: Context) -> None:
    """Sockets of every other network namespace that a process lives in: a cut in ours leaves them, a kill does not."""
    own = context.namespace("self", "net") if context.live else None
    records: list[dict[str, object]] = []
    others: dict[str, int] = {}
    for pid, process in context.processes.items():
        if not process.kernel_thread:
            name = context.namespace(pid, "net")
            if name is not None and own is not None and name != own:
                others.setdefault(name, pid)
    why = ""
    for name, pid in others.items():
        if context.late():
            why = "out of time before all network namespaces were read"
            break
        base = "{0}/{1}".format(context.proc, pid)
        tables = read_tables(base)
        records.extend(_records(context, sockets_of(tables), name))
        _raw(bundle, SOCKET_FILES, base + "/net", "[root]/proc/{0}/net/".format(pid), tables)
    _add(bundle, context, "namespace_sockets", records, why)
    context.counts["network_namespaces"] = 1 + len(others)


def _add(bundle: Bundle, context: Context, name: str, records: list[dict[str, object]], why: str = "") -> None:
    if context.unscanned or context.cut:
        why = "descriptors of {0} processes were not looked at in time, of {1} in part".format(context.unscanned, context.cut)
    bundle.add_jsonl("{0}{1}.jsonl".format(FOLDER, name), records, "/proc/net", "partial" if why else "complete", why)
    for kind, count in (
        ("sockets", len(records)), ("listening", sum(1 for one in records if one["state"] == "LISTEN")),
        ("established", sum(1 for one in records if one["state"] == "ESTABLISHED")),
    ):
        context.counts[kind] = context.counts.get(kind, 0) + count


def take_network(bundle: Bundle, context: Context) -> None:
    """Links, addresses, routes of all tables, rules and neighbours by netlink, and the kernel's files."""
    _raw(bundle, STATE_FILES, context.proc + "/net", "[root]/proc/net/")
    if not context.live:
        return
    from .._host._netstate import TABLES, dump

    for table in TABLES:
        try:
            records = dump(table)
        except OSError as error:
            bundle.fail("network", "{0} could not be read: {1}".format(table, error.strerror))
            continue
        bundle.add_jsonl("{0}{1}.jsonl".format(FOLDER, table), records, "NETLINK_ROUTE " + table)
        context.counts[table] = len(records)
        if table == "links":
            for link in records:
                if link.get("promiscuity"):
                    context.note("interface listens to everything", name=link.get("name"))


def start_firewall(context: Context) -> None:
    """Start what the firewall collector will wait for; nothing on a made-up host."""
    if not context.live or context.commands:
        return
    wanted = [("nft", ["list", "ruleset"])]
    for name, table in (("iptables-save", "ip_tables_names"), ("ip6tables-save", "ip6_tables_names")):
        # Only where the old tables are in use: asking for them would load them into the kernel.
        if read_proc("{0}/net/{1}".format(context.proc, table), 4096).strip():
            # The plain name may be the nft variant, which does not see the old tables.
            legacy = name.replace("-save", "-legacy-save")
            wanted.append((legacy if find(legacy) else name, ["-c"]))
    for name, arguments in wanted:
        path = find(name)
        if path is not None:
            try:
                context.commands[name] = Command([path] + arguments)
            except OSError as error:
                context.failed.append("{0} could not be run: {1}".format(name, error.strerror))


def take_firewall(bundle: Bundle, context: Context) -> None:
    """The rules, by the host's own programs, which are marked as such; the kernel's list of old tables."""
    start_firewall(context)
    _raw(bundle, ("ip_tables_names", "ip6_tables_names"), context.proc + "/net", "[root]/proc/net/")
    for name, command in context.commands.items():
        data, why = command.finish(context.deadline, _RULES_BYTES)
        bundle.add_bytes(
            "{0}{1}.txt".format(FOLDER, name.replace("-", "_")), data, " ".join(command.argv), "command", command.record(),
            "partial" if why else "complete", why,
        )
        context.counts["firewall_lines"] = context.counts.get("firewall_lines", 0) + data.count(b"\n")
    for why in context.failed:
        bundle.fail("firewall", why)
    if not context.live:
        return
    if "nft" not in context.commands:
        context.note("rules of nftables could not be read: no working nft")
    for name, mark in (("nft", "/sys/module/nf_tables"), ("iptables", "/proc/net/ip_tables_names")):
        if any(done.startswith(name) for done in context.commands):
            continue
        if read_proc(mark).strip() if name == "iptables" else read_proc(mark + "/refcnt", 64).strip() not in (b"", b"0"):
            bundle.fail("firewall", "the host has no program {0}, and the kernel holds such rules".format(name))
