# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames held back by tc, on a host whose nft knows no egress hook: against the real kernel. Needs root, touches nothing else."""

from __future__ import annotations

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._isolation import _not_covered
from ansible_collections.firebreak.response.tests.integration.kernel.test_isolation_kernel import BACKENDS, HOST, PEERS, net, until

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


@pytest.mark.parametrize(("cover", "host"), [("egress-hook", "net"), ("tc", "old")])
def test_a_packet_socket_hears_what_comes_in_as_the_result_says(cover, host, request):
    one = request.getfixturevalue(host)
    assert one.act("apply", backend="nftables", allow=[])["proof"]["layer2"]["cover"] == cover
    ear = one.start(one.host, HEAR.replace("veth1", "veth0"))
    assert ear.stdout.readline() == "ready\n"
    one.run(one.peer, "python3", "-c", SEND.format(PEERS[4][1], HOST[4], False).replace("veth0", "veth1"))
    assert int(ear.stdout.readline()) == 1
    assert any("AF_PACKET sockets" in line for line in _not_covered.not_covered("nftables", {}))


def test_a_host_without_nft_has_tc_too(old):
    (old.folder / "root" / "usr" / "sbin" / "nft").unlink()
    before = queues(old)
    first = old.act("apply", backend="auto", allow=[])
    assert (first["proof"]["ruleset"], first["proof"]["layer2"]["cover"], first["proof"]["layer2"]["why"]) == (True, "tc", "the host has no nft")
    assert heard(old, False) == 0
    old.act("release")
    assert queues(old) == before


def test_a_host_with_neither_says_so(old):
    (old.folder / "root" / "usr" / "sbin" / "tc").unlink()
    before = queues(old)
    first = old.act("apply", backend="nftables", allow=[])["proof"]["layer2"]
    assert first["cover"] == "none" and first["why"].endswith("and it has no tc")
    assert queues(old) == before


def test_what_is_required_is_not_by_tc(old):
    before = queues(old)
    assert "layer2: required" in old.act("apply", backend="nftables", allow=[], layer2="required")["refused"]
    assert queues(old) == before


def test_an_interface_that_comes_later_is_covered_by_the_next_run(old):
    before = queues(old)
    old.act("apply", backend="nftables", allow=[])
    old.run(old.host, "ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    again = old.act("apply", backend="nftables", allow=[])
    assert again["changed"] and again["proof"]["layer2"]["devices"] == ["late0", "late1", "veth0"] and not again["proof"]["layer2"]["open"]
    assert old.act("confirm", backend="nftables")["confirmed"]
    assert not old.act("apply", backend="nftables", allow=[])["changed"]
    old.act("release", backend="nftables")
    assert not [line for line in queues(old).splitlines() if "clsact" in line]
    old.run(old.host, "ip", "link", "delete", "late0")
    assert queues(old) == before


def test_an_isolation_that_nobody_confirms_is_taken_back_with_its_programs(old):
    before = queues(old)
    old.act("apply", backend="nftables", allow=[], seconds=1)
    assert queues(old) != before
    until(lambda: queues(old) == before)


def test_a_change_that_nobody_confirms_brings_the_earlier_programs_back(old):
    old.act("apply", backend="nftables", allow=[PEERS[4][0] + " 4000/tcp"], seconds=20)
    assert old.act("confirm", backend="nftables")["confirmed"]
    kept = queues(old)
    old.act("apply", backend="nftables", allow=[], seconds=1)
    assert queues(old) != kept
    until(lambda: queues(old) == kept)
    assert heard(old, False) == 0


@pytest.mark.parametrize("empty", [True, False])
def test_what_others_have_there_stays_as_it_was_and_is_named(old, empty):
    old.run(old.host, "tc", "qdisc", "add", "dev", "veth0", "clsact")
    if not empty:
        for preference in ("1", "7"):
            old.run(old.host, "tc", "filter", "add", "dev", "veth0", "egress", "pref", preference, "protocol", "all", "bpf", "da", "bytecode",
                    "1,6 0 0 4294967295,")
    before = queues(old)
    first = old.act("apply", backend="nftables", allow=[])["proof"]["layer2"]
    assert (first["cover"], first["devices"], first["open"]) == ("tc", ["veth0"], [])
    assert [one["what"] for one in first["programs"]] == ([] if empty else ["tc programs (clsact)"])
    assert heard(old, False) == 0
    old.act("release", backend="nftables")
    assert queues(old) == before


def test_what_others_hang_on_our_qdisc_meanwhile_is_left_to_them(old):
    old.act("apply", backend="nftables", allow=[])
    old.run(old.host, "tc", "filter", "add", "dev", "veth0", "ingress", "pref", "7", "protocol", "all", "bpf", "da", "bytecode", "1,6 0 0 0,")
    old.act("release", backend="nftables")
    left = queues(old)
    assert "pref 7 bpf" in left and "0xf12eb" not in left and "qdisc clsact" in left


@pytest.mark.parametrize("there", ["clsact", "ingress"])
def test_where_others_have_the_first_place_the_interface_is_open_and_said(old, there):
    old.run(old.host, "tc", "qdisc", "add", "dev", "veth0", there)
    if there == "clsact":
        old.run(old.host, "tc", "filter", "add", "dev", "veth0", "egress", "pref", "1", "protocol", "ip", "bpf", "da", "bytecode", "1,6 0 0 0,")
    old.run(old.host, "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    before = queues(old)
    first = old.act("apply", backend="nftables", allow=[])["proof"]
    assert first["ruleset"] and first["layer2"]["devices"] == ["other0", "other1"]
    (left,) = first["layer2"]["open"]
    assert left["device"] == "veth0" and "others'" in left["why"]
    old.act("release", backend="nftables")
    assert queues(old) == before


def test_a_filter_put_before_ours_is_seen_and_ours_is_the_first_again(old):
    old.act("apply", backend="nftables", allow=[])
    assert old.act("confirm", backend="nftables")["confirmed"]
    old.run(old.host, "tc", "filter", "add", "dev", "veth0", "egress", "pref", "1", "protocol", "all", "handle", "7", "bpf", "da", "bytecode", "1,6 0 0 0,")
    assert heard(old, False) == 1
    again = old.act("apply", backend="nftables", allow=[])
    assert again["changed"] and again["proof"]["ruleset"] and again["proof"]["layer2"]["programs"]
    assert heard(old, False) == 0


def test_release_takes_the_qdisc_away_though_somebody_took_the_filters(old):
    before = queues(old)
    old.act("apply", backend="nftables", allow=[])
    for direction in ("egress", "ingress"):
        old.run(old.host, "tc", "filter", "delete", "dev", "veth0", direction)
    assert old.act("release", backend="nftables")["changed"]
    assert queues(old) == before


def test_nft_takes_over_where_it_can_from_then_on(old):
    before = queues(old)
    old.act("apply", backend="nftables", allow=[])
    nft = old.folder / "root" / "usr" / "sbin" / "nft"
    nft.unlink()
    nft.symlink_to("/usr/sbin/nft")
    again = old.act("apply", backend="nftables", allow=[])
    assert again["changed"] and again["proof"]["ruleset"] and again["proof"]["layer2"]["cover"] == "egress-hook", again
    assert "0xf12eb" not in queues(old)
    old.act("release", backend="nftables")
    assert queues(old) == before


def test_an_allow_list_that_does_not_fit_is_said_and_nothing_of_an_earlier_one_stays(old):
    before = queues(old)
    old.act("apply", backend="nftables", allow=[])
    again = old.act("apply", backend="nftables", allow=[f"2001:db8:{number:x}::7 1/tcp" for number in range(1000)])
    assert again["changed"] and again["proof"]["ruleset"], again
    assert again["proof"]["layer2"]["cover"] == "none" and "instructions" in again["proof"]["layer2"]["why"]
    assert "0xf12eb" not in queues(old)
    old.act("release", backend="nftables")
    assert queues(old) == before
