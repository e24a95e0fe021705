# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames held back by tc, on a host whose nft knows no egress hook: against the real kernel. Needs root, touches nothing else."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.firebreak.response.tests.integration.kernel.test_isolation_kernel import BACKENDS, HOST, PEERS, net

__all__ = ["net"]
# As nft 0.9.8 of Debian 11 does, which has everything else that is needed.
OLD_NFT = """#!/bin/sh
text=$(cat)
case "$text" in *"hook egress"*) echo "Error: unknown hook" >&2; exit 1;; esac
printf '%s\\n' "$text" | exec /usr/sbin/nft "$@"
"""
# Frames to a forbidden address, by the queue and past it, and who hears them.
SEND = """
import socket, struct, sys
packet = struct.pack("!BBHHHBBH4s4s", 69, 0, 40, 1, 0, 64, 17, 0, socket.inet_aton("{0}"), socket.inet_aton("{1}")) + b"stolen-from-the-host"
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("veth0", 0x800))
if {2}: s.setsockopt(263, 20, 1)
try: s.send(bytes.fromhex("ffffffffffff0266000001fe0800") + packet)
except OSError: pass
"""
HEAR = """
import select, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("veth1", 3)); print("ready", flush=True)
count = 0
while select.select([s], [], [], 0.5)[0]: count += b"stolen-from-the-host" in s.recv(2048)
print(count)
"""


@pytest.fixture
def old(net):
    """The host with the nft of Debian 11."""
    root = net.folder / "root"
    for name in ("usr", "sbin", "bin"):
        (root / name).unlink()
    (root / "usr" / "sbin").mkdir(parents=True)
    for name in ("tc", "iptables", "ip6tables", *(f"{one}-{kind}" for one in ("iptables", "ip6tables") for kind in ("save", "restore"))):
        (root / "usr" / "sbin" / name).symlink_to(f"/usr/sbin/{name}")
    nft = root / "usr" / "sbin" / "nft"
    nft.write_text(OLD_NFT, encoding="ascii")
    nft.chmod(0o755)
    return net


def queues(net) -> str:
    """Every qdisc and filter of the host's device."""
    return "".join(net.run(net.host, "tc", *what) for what in (
        ("qdisc", "show"), ("filter", "show", "dev", "veth0", "egress"), ("filter", "show", "dev", "veth0", "ingress")))


def heard(net, past_the_queue: bool) -> int:
    """How many of one frame the peer hears."""
    ear = net.start(net.peer, HEAR)
    assert ear.stdout.readline() == "ready\n"
    net.run(net.host, "python3", "-c", SEND.format(HOST[4], PEERS[4][1], past_the_queue))
    return int(ear.stdout.readline())


@pytest.mark.parametrize("backend", BACKENDS)
def test_tc_holds_frames_back_where_nft_cannot_and_is_gone_with_the_release(old, backend):
    before = queues(old)
    assert heard(old, False) == 1
    first = old.act("apply", backend=backend, allow=[PEERS[4][0] + " 514/udp"])
    assert first["proof"]["ruleset"] and first["proof"]["layer2"]["cover"] == "tc", first["proof"]
    assert first["proof"]["layer2"]["devices"] == ["veth0"] and not first["proof"]["layer2"]["open"] and not first["proof"]["layer2"]["programs"]
    assert heard(old, False) == 0
    assert heard(old, True) == 1, "what goes past the queue is not seen by tc, as the result says"
    assert old.act("confirm", backend=backend)["confirmed"]
    assert not old.act("apply", backend=backend, allow=[PEERS[4][0] + " 514/udp"])["changed"]
    old.act("release", backend=backend)
    assert queues(old) == before
    assert heard(old, False) == 1
