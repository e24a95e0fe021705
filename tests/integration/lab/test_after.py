# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix of what comes after: no flow, socket or orphan of before the isolation delivers a byte once the host is released.

`./dev matrix after` runs it. Both ends go on sending over what they have; every byte counts that either end gets, or that comes out
of the host's wire, from the containment to the end of the listening.
"""

from __future__ import annotations

import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from . import flows, matrix

# Who sends while the host is isolated is told by the rules that there is no connection; the silent ones are not.
TALKING = ("tcp-ipv4", "tcp-ipv6", "silent-tcp-ipv4", "silent-tcp-ipv6", "udp-ipv4", "udp-ipv6", "half-closed-by-the-peer",
           "accepted-from-outside")
# Their way is blocked beyond the host's wire until the host is isolated, so that something waits in the host to be sent.
RETRANSMITTING = ("retransmitting-ipv4", "retransmitting-ipv6")
ORPHANS = ("orphan-ipv4", "orphan-ipv6")
CONNECTING = ("connecting-ipv4", "connecting-ipv6")
# The program could open another like it at any time; the result says that it stays.
SAID = ("unconnected-udp",)
PORTS = {name: 7000 + number for number, name in enumerate((*TALKING, *RETRANSMITTING, *ORPHANS, *CONNECTING, *SAID))}
LISTEN = 6.0
_ESTABLISHED, _SYN_SENT, _FIN_WAIT1 = "01", "02", "04"


def blocked(names: tuple[str, ...]) -> None:
    """The router drops what belongs to these flows; none: it does not any more."""
    text = "add table inet lab_after\ndelete table inet lab_after\n"
    if names:
        ports = ", ".join(str(PORTS[name]) for name in names)
        text += f"table inet lab_after {{\nchain f {{\ntype filter hook forward priority 0;\nth dport {{ {ports} }} drop\nth sport {{ {ports} }} drop\n}}\n}}\n"
    hosts.execute("wire", ["nft", "-f", "-"], text=text)


def until(what: str, holds, seconds: float = 15) -> None:
    """Wait for something; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come to this: {what}"
        time.sleep(0.05)


@pytest.fixture
def ends(cell):
    """Both ends and the ear, all flows at work as their names say: (host's end, far end, ear)."""
    host = cell[0]
    open_: list[flows.Teller] = []
    try:
        open_.append(far := flows.far_end(PORTS))
        open_.append(ear := flows.ear(host, PORTS))
        open_.append(near := flows.on_host(host, PORTS, [*TALKING, *RETRANSMITTING, *SAID]))
        open_.append(doomed := flows.on_host(host, PORTS, list(ORPHANS)))
        far.order(f"{network.address(host)} accepted-from-outside")
        for name in (*TALKING, *RETRANSMITTING, *ORPHANS, *SAID):
            until(f"{name} talks", lambda: all(end.got(name) > 1 for end in (far, ear, doomed if name in ORPHANS else near)))
        blocked((*RETRANSMITTING, *ORPHANS, *CONNECTING))
        for name in CONNECTING:
            near.order(name)
        time.sleep(2 * flows.EVERY)
        hosts.execute(host, ["kill", "-KILL", doomed.word])
        for name in RETRANSMITTING:
            until(f"{name} retransmits", lambda: any(state == _ESTABLISHED and again for state, again, _i in flows.states(host, PORTS[name])))
        for name in ORPHANS:
            until(f"{name} is one", lambda: any(state == _FIN_WAIT1 and not inode for state, _a, inode in flows.states(host, PORTS[name])))
        for name in CONNECTING:
            until(f"{name} connects", lambda: any(state == _SYN_SENT for state, _a, _i in flows.states(host, PORTS[name])))
        yield near, far, ear
    finally:
        blocked(())
        for one in open_:
            one.end()


def test_nothing_comes_back_to_life_at_release(cell, ends):
    host, backend = cell
    began = time.monotonic()
    result = adhoc(host, "isolation", f"case=AFTER backend={backend}").of(host)
    try:
        assert result["verdict"] == "contained", result
        since = time.monotonic()
        blocked(())
        time.sleep(3)
    finally:
        released = adhoc(host, "isolation", "case=AFTER state=released").of(host)
    assert released["verdict"] == "released", released
    # What waits to be sent again waits twice as long each time: the next try is at most as far off as the first one lies back.
    time.sleep(max(LISTEN, time.monotonic() - began + 1))
    rows = []
    said = any("without a fixed peer" in line for line in result["not_covered"])
    for name in PORTS:
        near, far, wire = (end.got(name, since) for end in ends)
        count = near + far + wire
        got = f"{near} bytes came in, {far} out, {wire} on the wire" if count else "0 bytes"
        rows.append({"case": name, "release": host, "backend": backend, "expected": "0 bytes, or said" if name in SAID else "0 bytes",
                     "got": got + (", said" if count and said and name in SAID else ""), "holds": not count or said and name in SAID})
    matrix.write("after", rows)
    assert [row for row in rows if not row["holds"]] == []
