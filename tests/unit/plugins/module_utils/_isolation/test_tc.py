# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tc holds: told apart from what others hang there, listed, put back and taken away, and the unit's shell text for it."""

from __future__ import annotations

import re
import socket
import struct
import subprocess

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import (
    _hold_tc, _layer2, _layer2_backend, _layer2_tc, _tc, _tc_backend,
)
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan

SESSION = Session("", 0, "", 0, "none", [])
PLAN = make_plan(SESSION, ["10.0.0.5 514/udp"], ["10.0.0.9"], [], "local")
DEVICES = _layer2.Devices(["eth0"], ["tun0"], {})
ALL = socket.htons(3)
OURS = _tc.Filter("bpf", 1, ALL, _layer2.HANDLE, b"\6\0\0\0\2\0\0\0")
THEIRS = OURS._replace(handle=1)


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def message(kind: bytes, options: bytes | None, handle: int = _layer2.HANDLE) -> bytes:
    return struct.pack("=BxxxiIII", 0, 2, handle, 0xFFFFFFF3, 1 << 16 | ALL) + attribute(1, kind) + (b"" if options is None else attribute(2, options))


def test_a_filter_is_ours_by_its_place_and_name():
    options = attribute(5, OURS.program) + attribute(8, struct.pack("=I", 1))
    assert _tc.parse(message(b"bpf\0", options)) == OURS and OURS.ours
    assert not _tc.parse(message(b"bpf\0", options, 7)).ours and not _tc.parse(message(b"flower\0", b"")).ours
    assert _tc.parse(message(b"bpf\0", attribute(5, OURS.program))).program == b"", "its word decides nothing"
    assert _tc.parse(message(b"bpf\0", None)) is None
    for cut in range(60):
        _tc.parse(message(b"bpf\0", options)[:cut])


@pytest.mark.parametrize("aside", ["chain", "block"])
def test_the_same_program_where_nobody_asks_it_is_not_ours(aside):
    """A live root takes ours away and hangs the same into another chain: what is listed would look the same."""
    data = bytearray(message(b"bpf\0", attribute(5, OURS.program) + attribute(8, struct.pack("=I", 1))))
    if aside == "chain":
        data += attribute(11, struct.pack("=I", 7))
    else:
        struct.pack_into("=i", data, 4, -1)
    found = _tc.parse(bytes(data))
    assert found is not None and not found.ours and _tc_backend.listing({("eth0", "egress"): [found]}) == ""
    assert _tc_backend.strangers({("eth0", "egress"): [found]}) == {"eth0"}
    assert "behind" not in _tc_backend.listing({("eth0", "egress"): [found, OURS]})
    assert _tc.parse(message(b"bpf\0", attribute(5, b"")) + attribute(11, bytes(4))).ours, "the first chain, said in words"


def test_what_is_in_force_is_listed_and_what_stands_before_it_said():
    found = {("eth0", "egress"): [OURS, THEIRS], ("eth0", "ingress"): [THEIRS, OURS], ("eth1", "egress"): [THEIRS]}
    text = _tc_backend.listing(found)
    assert text.startswith("table netdev firebreak by tc {\n\teth0 egress by tc: 1 instructions, SHA-256 ")
    assert text.count("behind filters of others") == 1 and "eth1" not in text
    assert _layer2.bound_by_tc(text) == ["eth0"] and _layer2.bound(text) == []
    assert _tc_backend.listing({("eth1", "egress"): [THEIRS]}) == ""
    assert _tc_backend.strangers(found) == {"eth0", "eth1"} and _tc_backend.ours(found) == {"eth0"}


def test_what_is_meant_reads_like_what_is_in_force():
    made = _tc_backend.ByTc(PLAN, DEVICES, {}, [])
    found = {(name, direction): [OURS._replace(program=made.programs[direction + "_" + kind])]
             for name, kind in (("eth0", "ethernet"), ("tun0", "bare")) for direction in ("ingress", "egress")}
    assert made.meant() == _tc_backend.listing(found)
    assert _layer2.bound_by_tc(made.meant()) == ["eth0", "tun0"]
    assert _layer2.bound_by_tc(_tc_backend.ByTc(PLAN, DEVICES, {"eth0": "why"}, []).meant()) == ["tun0"]


def test_a_place_that_others_have_taken_is_left_to_them():
    places = {"eth0": (2, "clsact"), "eth1": (3, "ingress"), "eth2": (4, "clsact"), "eth3": (5, "clsact")}
    found = {("eth0", "egress"): [THEIRS], ("eth2", "ingress"): [THEIRS._replace(protocol=8)], ("eth3", "egress"): [THEIRS._replace(kind="u32")]}
    assert sorted(_tc_backend.unfit(places, found)) == ["eth1", "eth2", "eth3"]


def test_the_way_back_takes_away_what_is_ours_and_no_more(monkeypatch):
    links = [{"index": number, "name": name} for number, name in ((2, "eth0"), (3, "eth1"), (4, "eth2"))]
    qdiscs = [{"index": number, "kind": "clsact"} for number in (3, 4)]
    monkeypatch.setattr(_tc_backend, "dump", {"links": links, "qdiscs": qdiscs}.get)
    monkeypatch.setattr(_tc, "filters", lambda index, direction: [OURS] if index == 3 else [THEIRS])
    commands, *qdisc = _tc_backend.back_to_none("/sbin/tc", ["eth0"], ["eth2"])
    assert commands["stdin"].count("filter delete dev eth0 ") == commands["stdin"].count("filter delete dev eth1 ") == 2
    assert "eth2" not in commands["stdin"] and "handle 0xf12eb" in commands["stdin"]
    assert [step["argv"][4] for step in qdisc] == ["eth0", "eth1"] and all(len(step["if_silent"]) == 2 for step in qdisc)
    # Where nobody knows what was there, only what filters of ours hang on is taken for ours.
    commands, *qdisc = _tc_backend.back_to_none("/sbin/tc", [], None)
    assert [step["argv"][4] for step in qdisc] == ["eth1"]


def test_before_it_is_known_who_does_it_the_way_back_is_written_for_tc_too():
    layer2 = _layer2_backend.Layer2("/usr/sbin/nft")
    layer2.tc, layer2.devices, layer2.not_ours = "/sbin/tc", DEVICES, ["tun0"]
    commands, *qdisc = layer2.in_case()
    assert commands["stdin"].count("filter delete") == 4 and [step["argv"][4] for step in qdisc] == ["eth0"]
    layer2.tc = None
    assert layer2.in_case() == []


def test_the_way_back_to_an_earlier_plan_is_written_for_tc():
    egress = make_plan(SESSION, [], ["10.0.0.9"], [], "local", "egress")
    (commands,) = _tc_backend.back_to("/sbin/tc", _tc_backend.ByTc(egress, DEVICES, {}, []))
    lines = commands["stdin"].splitlines()
    written = _layer2_tc.written(_layer2_tc.programs(egress)["egress_ethernet"])
    assert lines[0] == "qdisc add dev eth0 clsact"
    assert lines[1] == "filter replace dev eth0 egress pref 1 protocol all handle 0xf12eb bpf da bytecode '{0}'".format(written)
    assert lines[2] == "filter delete dev eth0 ingress pref 1 protocol all handle 0xf12eb bpf", "what that plan did not hold back"


@pytest.mark.parametrize(("nft", "tc", "why"), [(None, None, "the host has no nft, and it has no tc"), (None, "/sbin/tc", "instructions"),
                                                ("/sbin/nft", "/sbin/tc", "5.16.*instructions")])
def test_where_tc_cannot_either_the_reason_is_said(nft, tc, why, monkeypatch):
    layer2 = _layer2_backend.Layer2(nft)
    layer2.tc, layer2.devices, layer2.refused = tc, DEVICES, True
    much = make_plan(SESSION, ["2001:db8:{0:x}::7 1/tcp".format(number) for number in range(1000)], ["10.0.0.9"], [], "local")
    assert layer2.load_by_tc(much) is False
    found = layer2.report("", "")
    assert found["cover"] == "none"
    assert re.search(why, found["why"])


def test_a_device_that_lost_its_program_is_told_from_one_that_is_gone():
    layer2 = _layer2_backend.Layer2(None)
    was = _tc_backend.ByTc(PLAN, DEVICES, {}, []).meant()
    layer2.devices = DEVICES
    assert not layer2.lost(was, was) and layer2.lost(was, "")
    layer2.devices = DEVICES._replace(ethernet=[])
    assert not layer2.lost(was, "".join(line for line in was.splitlines(True) if "eth0" not in line))
    assert layer2.lost(was, was.replace("tun0 egress by tc: ", "tun0 egress by tc: 1"))


TC = """#!/bin/sh
while read -r what verb dev device way rest; do
  case "$what $verb" in
    "qdisc show") echo "qdisc noqueue 0: dev $device root";;
    "filter show") [ ! -e "aside-$device-$way" ] || echo "filter protocol all pref 1 bpf chain 7 handle 0xf12eb direct-action"
                   [ ! -e "ahead-$device-$way" ] || echo "filter protocol all pref 1 bpf chain 0 handle 0x7 direct-action"
                   [ ! -e "has-$device-$way" ] || echo "filter protocol all pref 1 bpf chain 0 handle 0xf12eb $(cat "has-$device-$way")"
                   [ ! -e "behind-$device-$way" ] || echo "filter protocol all pref 2 bpf chain 0 handle 0x1 direct-action";;
    "filter replace") echo "$what $verb $device $way" >>done; cat "${rest##* bytecode-file }" >"has-$device-$way";;
    "filter delete") echo "$what $verb $device $way" >>done; rm -f "has-$device-$way" "ahead-$device-$way";;
    *) echo "$what $verb $dev $device $way" >>done;;
  esac
done
"""


def test_the_unit_puts_back_what_somebody_took_and_what_stands_behind_is_no_concern(tmp_path):
    program = tmp_path / "tc"
    program.write_text(TC, encoding="ascii")
    program.chmod(0o755)
    for name in ("egress-ethernet", "ingress-ethernet", "egress-bare"):
        (tmp_path / name).write_text("1,6 0 0 2,\n", encoding="ascii")
    functions = _hold_tc.FRAMES
    for word, meant in _hold_tc.values(str(program)).items():
        functions = functions.replace("@{0}@".format(word), meant)
    script = "devices=''; e=', \"eth0\", \"eth1\"'; b=', \"tun0\"'; look() { :; }; say() { echo \"$1\"; }\n" + functions

    def again(more: str) -> tuple[str, list[str]]:
        (tmp_path / "done").write_text("", encoding="ascii")
        done = subprocess.run(["sh", "-c", script + "frames; : >done\n" + more + "\nframes; frames"], cwd=tmp_path, check=True, timeout=20,
                              stdout=subprocess.PIPE)
        return done.stdout.decode("ascii"), (tmp_path / "done").read_text(encoding="ascii").splitlines()

    assert again(":") == ("", []) and again(": >behind-eth0-egress") == ("", [])
    every = ["filter replace eth0 egress", "filter replace eth0 ingress", "filter replace eth1 egress", "filter replace eth1 ingress",
             "filter replace tun0 egress"]
    places = ["qdisc add dev {0} clsact".format(name) for name in ("eth0", "eth1", "tun0")]
    said, done = again("rm has-eth1-egress")
    assert (said, done) == ("the programs for frames had been changed or removed; they are put back\n", [*places, *every])
    # The same program in a chain that nobody asks does not stand for it.
    assert again(": >aside-eth1-egress") == ("", [])
    said, done = again("rm has-eth1-egress")
    assert said.count("put back") == 1 and done == [*places, *every]
    said, done = again("echo '1,6 0 0 0,' >has-eth0-ingress")
    assert said.count("put back") == 1 and done == [*places, *every]
    said, done = again(": >ahead-tun0-egress")
    assert said.count("put back") == 1 and "filter delete tun0 egress" in done and not (tmp_path / "ahead-tun0-egress").exists()
    said, done = again("e=', \"eth0\"'")
    assert said == "the interfaces have changed, and the programs for frames with them\n"
