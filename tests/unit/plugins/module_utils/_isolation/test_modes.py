# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far the cut goes: everything, what leaves, or nothing, which is then counted."""

from __future__ import annotations

import pytest

from ansible_collections.firebreak.response.plugins.module_utils import _contain
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _layer2, _nftables, _not_covered, _preflight, _run
from ansible_collections.firebreak.response.plugins.module_utils._isolation._control import Isolation
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import MODES, from_dict, make_plan, way_in
from ansible_collections.firebreak.response.plugins.module_utils._isolation._preflight import Risk

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])


def plan(mode: str):
    return make_plan(SSH, ["10.0.0.5 514/udp", "2001:db8::5 9100/tcp in"], [], [], "ssh", mode)


def hooks(text: str) -> dict[str, str]:
    """Hook -> policy, of all base chains."""
    lines = [line.split() for line in text.splitlines() if "type filter hook" in line]
    return {words[words.index("hook") + 1]: words[-1].rstrip(";") for words in lines}


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_is_written_down_with_the_plan_and_comes_back(mode):
    assert from_dict(plan(mode).as_dict(), SSH).as_dict() == plan(mode).as_dict()
    assert plan(mode).as_dict()["mode"] == mode
    for wrong in ("", "all", None, ["full"]):
        with pytest.raises(FirebreakError, match="damaged"):
            from_dict({**plan(mode).as_dict(), "mode": wrong}, SSH)


def test_egress_leaves_alone_what_comes_in_and_closes_as_much_of_what_leaves_as_full():
    full, egress = _nftables.render(plan("full"), "X"), _nftables.render(plan("egress"), "X")
    assert hooks(full) == dict.fromkeys(("prerouting", "input", "forward", "output", "postrouting"), "drop")
    assert hooks(egress) == {**dict.fromkeys(("forward", "output", "postrouting"), "drop"), "input": "accept"}
    assert egress.partition("\tchain inbound {")[2].split("\n\t}")[0].split("\n\t\t")[1:] == [
        "ip saddr 10.0.0.1 tcp dport 22 tcp flags & (syn|ack) == syn counter"]
    for chain in ("outbound", "forward", "output", "postrouting"):
        mark = f"\tchain {chain} {{"
        assert egress.partition(mark)[2].partition("\n\t}")[0] == full.partition(mark)[2].partition("\n\t}")[0] != ""
    for family in (4, 6):
        whole, half = _iptables.chains(plan("full"), "X", family), _iptables.chains(plan("egress"), "X", family)
        entering, all_entering = half.pop("FIREBREAK-INPUT"), whole.pop("FIREBREAK-INPUT")
        assert entering == all_entering[:len(entering)] and not [rule for rule in entering[1:] if " -j " in rule]
        assert half == whole
    devices = _layer2.Devices(["eth0"], ["tun0"], {})
    assert hooks(_layer2.render(plan("full"), devices)) == {"egress": "drop", "ingress": "drop"}
    assert hooks(_layer2.render(plan("egress"), devices)) == {"egress": "drop"}


def test_observe_drops_and_rejects_nothing():
    text = _nftables.render(plan("observe"), "X")
    assert hooks(text) == dict.fromkeys(("input", "forward", "output"), "accept")
    assert "drop" not in text and "reject" not in text
    assert text.count("\t\tcounter\n") == text.count("limit rate 5/second log prefix") == 3
    for family in (4, 6):
        rules = [rule for chain in _iptables.chains(plan("observe"), "X", family).values() for rule in chain]
        assert not [rule for rule in rules if "DROP" in rule or "REJECT" in rule or "ACCEPT" in rule]
        assert len([rule for rule in rules if "-j LOG" in rule]) == 3
    assert _layer2.render(plan("observe"), _layer2.Devices(["eth0"], [], {})) == ""


@pytest.mark.parametrize("mode", MODES)
def test_whose_isolation_it_is_can_be_told_in_every_mode(mode):
    assert _nftables.holder(_nftables.render(plan(mode), "INC-1")) == "INC-1"
    assert _iptables.holder(_iptables.render(plan(mode), "INC-1", 4, "")) == "INC-1"


def test_what_would_have_been_cut_is_read_from_the_counters():
    listing = ("table inet firebreak {\n\tchain case.X {\n\t}\n\n\tchain inbound {\n\t\tcounter packets 99 bytes 1 accept\n\t}\n\n"
               "\tchain input {\n\t\ttype filter hook input priority -310; policy accept;\n\t\tjump inbound\n"
               "\t\tcounter packets 12 bytes 720\n\t\tlimit rate 5/second burst 5 packets log prefix \"x\"\n\t}\n\n"
               "\tchain output {\n\t\ttype filter hook output priority -310; policy accept;\n\t\tcounter packets 3 bytes 99\n\t}\n}\n")
    assert _nftables.counted(listing) == {"inbound": 12, "outbound": 3}
    save = ('[7:420] -A FIREBREAK-INPUT -i lo -m comment --comment "case X" -j RETURN\n'
            '[5:300] -A FIREBREAK-INPUT -m comment --comment "would be cut"\n[2:80] -A FIREBREAK-OUTPUT -m comment --comment "would be cut"\n'
            '[9:1] -A theirs -m comment --comment "would be cut"\n')
    assert _iptables.counted([save, save]) == {"inbound": 10, "outbound": 4, "forwarded": 0}


def test_who_observes_never_says_contained():
    proof = {"ruleset": True, "flows_remaining": 0, "probe": None, "confirmed": True, "mode": "observe",
             "layer2": {"cover": "none", "why": "", "devices": [], "open": [], "programs": [], "elsewhere": []},
             "widened": False, "hold": {"unit": "", "persist": False, "watch": False, "owner": False, "why": ""}}
    assert _run.judge(proof, False) == ("reported", [])
    assert _run.judge({**proof, "confirmed": None}, False)[0] == "unknown"
    assert _run.judge({**proof, "mode": "egress", "probe": {"holds": True}}, False) == ("contained", [])
    assert _contain.worst(["contained", "reported", "contained"]) == "reported"
    assert _contain.worst(["reported", "partial"]) == "partial" and _contain.worst(["reported", "failed"]) == "failed"
    assert any(line.startswith("mode observe") for line in _not_covered.not_covered("nftables", proof))


def test_frames_cannot_be_required_to_be_held_back_where_nothing_is():
    params = {"confirm_within": 60, "mode": "observe", "layer2": "required", "allow": [], "management": [], "management_networks": []}
    with pytest.raises(FirebreakError, match="layer2.*observe"):
        _run.plan_of(params, SSH, "ssh")
    assert _run.plan_of({**params, "layer2": "auto"}, SSH, "ssh").mode == "observe"


def test_the_preflight_refuses_the_cut_that_follows_an_observation_but_not_the_observation(monkeypatch, tmp_path):
    monkeypatch.setattr(_preflight, "look", lambda *_arguments: [Risk("network-root", True, "what", "instead")])
    observing = Isolation(Workdir("X", root=str(tmp_path)), plan("observe"))
    assert _run.preflight(observing, {"accept_risks": []}, SSH, {})
    cutting = Isolation(Workdir("X", root=str(tmp_path)), plan("full"))
    cutting.before, cutting.state = "table inet firebreak", {"plan": plan("observe").as_dict()}
    with pytest.raises(FirebreakError, match="network-root"):
        _run.preflight(cutting, {"accept_risks": []}, SSH, {})
    cutting.state = {"plan": plan("egress").as_dict()}
    assert _run.preflight(cutting, {"accept_risks": []}, SSH, {})


def asked(management, mode="full", changed=True, **options):
    """What check mode says of the way in."""
    planned = make_plan(SSH, [], management, [], "ssh", mode)
    return way_in(planned, {"confirm_within": 60, "on_management_lost": "widen", "then": "release", **options}, changed)


def test_check_mode_says_that_a_list_of_management_systems_leaves_out_who_asks_and_what_would_follow():
    verdict, (reason,) = asked(["192.0.2.77"])
    assert verdict == "partial" and "10.0.0.1" in reason and "after 60 seconds SSH would be opened" in reason and "then: release" in reason
    assert "the host would stay cut (then: hold)" in asked(["192.0.2.77"], then="hold")[1][0]
    verdict, (reason,) = asked(["192.0.2.77"], on_management_lost="release", confirm_within=8)
    assert verdict == "failed" and "after 8 seconds the host would take the whole cut back" in reason


@pytest.mark.parametrize("right", [
    {"management": []}, {"management": ["10.0.0.0/24"]}, {"management": ["192.0.2.77"], "changed": False}])
def test_check_mode_does_not_warn_of_a_way_in_that_would_stay(right):
    assert asked(**right) == ("contained", [])


def test_who_only_observes_loses_no_way_in():
    assert asked(["192.0.2.77"], mode="observe") == ("reported", [])
