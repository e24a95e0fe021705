# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stream matrix: the responder's open session goes on over the cut, whatever connection tracking and the path do.

`./dev matrix stream` runs it. A real ssh session says nothing while the cut is made; then the host speaks first, every 50 ms.
A second session, with a host that nobody isolates, tells what the machine itself takes.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import threading
import time
from typing import NamedTuple

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc
from tests.lab.machine import STATE, inside

from . import matrix
from .channels import FORGET

LINES, EVERY, STALL = 30, 0.05, 1.0
BUSY = 0.4  # seconds that a line of the untouched session may take, or the machine is too busy to tell anything
SPEAK = "/run/lab-speak"
SPEAKER = f"""
import os, sys, time
print("open", os.environ["SSH_CONNECTION"].split()[1], flush=True)
while not os.path.exists("{SPEAK}"): time.sleep(0.01)
for number in range({LINES}):
    print(number, time.monotonic(), "x" * int(sys.argv[1]), flush=True)
    time.sleep({EVERY})
"""
STATES = ("new", "established", "invalid", "untracked")


class Case(NamedTuple):
    """What is arranged on the host: `first` before the session begins, `silent` while it is silent, `cut` right after the cut.

    states: what connection tracking must say of the stream after the cut, "" where it must not know it. far: two more sessions, one a
    family, come over a router whose next piece of wire takes 1280 bytes, and the host has more than that to say.
    """

    first: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    far: bool = False


# One rule that asks for it is what switches tracking on.
TRACK = ("nft 'add table inet lab_track; add chain inet lab_track seen { type filter hook input priority 10; };"
         " add rule inet lab_track seen ct state new'")
LOOSE = "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0"
_NOTRACK = ("nft 'add table inet attacker; add chain inet attacker {0} {{ type filter hook {0} priority -300; }}; "
            "add rule inet attacker {0} notrack'")
_RAW = "{0} -t raw -A {1} -j CT --notrack"
# Addresses of the controller that the host reaches by its router alone.
FAR = {4: "10.77.0.10", 6: "fd77::10"}
# Whatever the path's size was learned from before is forgotten, and so is the router's place on the wire.
UNLEARNED = "ip route flush cache; ip -6 route flush cache; ip -4 neighbour flush dev host0; ip -6 neighbour flush dev host0"
CASES = {
    "tracked-as-usual": Case(first=(TRACK,), states=("established",)),
    "never-tracked": Case(cut=(UNLEARNED,), far=True),
    "tracked-from-the-middle": Case(silent=(TRACK,), states=("new", "established")),
    "notrack-by-nft": Case(first=(TRACK,), silent=tuple(_NOTRACK.format(hook) for hook in ("prerouting", "output")), states=("untracked",)),
    "notrack-by-iptables": Case(first=(TRACK,), silent=tuple(
        _RAW.format(program, chain) for program in ("iptables", "ip6tables") for chain in ("PREROUTING", "OUTPUT")), states=("untracked",)),
    "middle-and-tcp-loose-0": Case(silent=(LOOSE, TRACK), states=("invalid",)),
    "entries-deleted": Case(first=(TRACK,), cut=(FORGET,), states=("new", "established")),
    "entries-deleted-and-tcp-loose-0": Case(first=(TRACK,), silent=(LOOSE,), cut=(FORGET,), states=("invalid",)),
}


class Session:
    """A session of the real ssh from the controller with a host that waits for its word; collects what arrives and when."""

    def __init__(self, host: str, version: int = 4, far: bool = False) -> None:
        user = "root" if host == "deb12" else "responder"
        to = network.address(host) if version == 4 else network.address6(host)
        self._ssh = subprocess.Popen(inside("controller", [
            "ssh", "-F", "none", *(["-b", FAR[version]] if far else []), "-o", "BatchMode=yes", "-i", str(STATE / "key"),
            "-o", f"UserKnownHostsFile={STATE}/known_hosts", "-o", f"HostKeyAlias={network.address(host)}", f"{user}@{to}",
            shlex.join(["python3", "-c", SPEAKER, "8000" if far else "20"])]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._ssh.stdout is not None
        word, port = self._ssh.stdout.readline().split()
        assert word == "open"
        self.port = int(port)
        self.delays: list[float] = []
        self.first = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._ssh.stdout or ():
            now = time.monotonic()  # the hosts' clock too: they share the machine's
            self.first = self.first or float(line.split()[1])
            self.delays.append(now - float(line.split()[1]))

    def worst(self) -> float:
        """The longest that a line took, in seconds; what has not come by now counts as lost for good."""
        self._reader.join(LINES * EVERY + 15)
        return max(self.delays) if len(self.delays) == LINES else float("inf")

    def end(self) -> None:
        """Close it."""
        self._ssh.kill()
        self._reader.join()
        with self._ssh:  # closes its pipe
            pass


def on(host: str, command: str) -> None:
    """Do what a case says on the host: a shell line, or FORGET, which is Python."""
    hosts.execute(host, ["python3", "-c", FORGET] if command == FORGET else ["sh", "-ec", command])


def count(host: str, port: int) -> None:
    """Count from now on what tracking says of the stream's packets."""
    rules = "".join(f"tcp sport 22 tcp dport {port} ct state {state} counter\n" for state in STATES)
    table = f"table inet lab_count {{\nchain said {{\ntype filter hook output priority 10;\n{rules}}}\n}}\n"
    hosts.execute(host, ["nft", "-f", "-"], text=table)


def called(host: str) -> set[str]:
    """What tracking has called packets of the stream since `count`."""
    listing = hosts.execute(host, ["nft", "list", "table", "inet", "lab_count"]).stdout
    return {state for state, packets in re.findall(r"ct state (\w+) counter packets (\d+)", listing) if int(packets)}


def entries(host: str, port: int) -> int:
    """How many entries of connection tracking the stream has."""
    return hosts.execute(host, ["cat", "/proc/net/nf_conntrack"]).stdout.count(f"dport={port} ")


@contextlib.contextmanager
def far():
    """The controller has addresses that the hosts reach by the router alone, over a piece of wire that takes 1280 bytes."""
    hosts.execute("wire", ["sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.lan.send_redirects=0"])
    for address in FAR.values():
        hosts.execute("controller", ["ip", "address", "add", address, "dev", "host0", *(["nodad"] if ":" in address else [])])
        hosts.execute("wire", ["ip", "route", "replace", address, "dev", "lan", "mtu", "lock", "1280"])
    try:
        yield
    finally:
        for address in FAR.values():
            hosts.execute("wire", ["ip", "route", "delete", address], check=False)
            hosts.execute("controller", ["ip", "address", "delete", address, "dev", "host0"], check=False)


def isolated(host: str, backend: str, ready: threading.Event) -> None:
    """Return as soon as the rules are in force, seen with the host's own nft, which changes nothing."""
    chain = "inet firebreak output" if backend == "nftables" else "ip6 filter FIREBREAK-OUTPUT"
    hosts.execute(host, ["sh", "-c", f"until nft list chain {chain} >/dev/null 2>&1; do sleep 0.02; done"])
    ready.set()


def swept(host: str) -> None:
    """Take away what cases arrange; the fixture flushes rules."""
    hosts.execute(host, ["sh", "-c", (
        f"rm -f {SPEAK}; nft flush ruleset; sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1")])


def streamed(host: str, backend: str, name: str, case: Case) -> tuple[dict[str, float], float]:
    """One containment with the sessions open: the worst delay of the host's lines in each, and of those of an untouched host."""
    for command in case.first:
        on(host, command)
    other = next(one for one in hosts.HOSTS if one != host)
    untouched, mine = Session(other), {name: Session(host)}
    if case.far:
        mine.update({f"path-mtu-1280-ipv{version}": Session(host, version, True) for version in FAR})
    port = mine[name].port
    try:
        time.sleep(0.2)  # the last acknowledgement of what was said so far may be delayed
        for command in case.silent:
            on(host, command)
        assert (entries(host, port) > 0) is (TRACK in case.first), "before the cut tracking does not know the session as it should"
        ready = threading.Event()
        threading.Thread(target=isolated, args=(host, backend, ready), daemon=True).start()
        result: list[dict] = []
        work = threading.Thread(target=lambda: result.append(adhoc(
            host, "isolation", f"case=STREAM backend={backend} management_networks={','.join(FAR.values())}").of(host)))
        work.start()
        assert ready.wait(60), "the rules did not come into force"
        for command in case.cut:
            on(host, command)
        if FORGET in case.cut:
            assert entries(host, port) == 0, "tracking still knows the session"
        if case.states:
            count(host, port)
        spoke = time.monotonic()
        for one in (host, other):
            hosts.execute(one, ["touch", SPEAK])
        worst = {stream: session.worst() for stream, session in mine.items()}
        work.join()
        assert result and result[0]["verdict"] == "contained", result
        assert all(session.first > spoke or not session.first for session in mine.values()), "the host spoke before the cut"
        if max(worst.values()) != float("inf"):  # of a stream that has ended there is nothing to see
            in_force(host, case, port)
        return worst, untouched.worst()
    finally:
        for session in (untouched, *mine.values()):
            session.end()
        hosts.execute(other, ["rm", "-f", SPEAK])


def in_force(host: str, case: Case, port: int) -> None:
    """Fail where what the case arranges was not so while the host spoke."""
    if case.states:
        assert called(host) == set(case.states)
    else:
        assert entries(host, port) == 0, "tracking knows the stream"
    for to in FAR.values() if case.far else ():
        assert "mtu 1280" in hosts.execute(host, ["ip", "route", "get", to]).stdout, "nobody told the host that the path is small"


@pytest.fixture
def tidy(cell):
    """The cell, with a controller that is also far away."""
    swept(cell[0])
    hosts.execute(cell[0], ["sysctl", "-qw", "net.ipv6.conf.host0.accept_redirects=0"])  # the router knows the shorter way
    with far():
        yield cell
    swept(cell[0])


def test_the_stream_of_the_responder_never_stalls(tidy):
    host, backend = tidy
    rows = []
    for name, case in CASES.items():
        for _attempt in range(3):
            try:
                worst, untouched = streamed(host, backend, name, case)
            finally:
                adhoc(host, "isolation", "case=STREAM state=released")
                swept(host)
            if untouched < BUSY:
                break
        else:
            raise AssertionError(f"{name}: the machine is too busy: a line of an untouched session took {untouched:.1f} s")
        rows += [{"case": stream, "release": host, "backend": backend, "expected": f"at most {STALL * 1000:.0f} ms",
                  "got": "lost" if delay == float("inf") else f"{delay * 1000:.0f} ms", "holds": delay <= STALL}
                 for stream, delay in worst.items()]
    matrix.write("stream", rows)
    assert [row for row in rows if not row["holds"]] == []
