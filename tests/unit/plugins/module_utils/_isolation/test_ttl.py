# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An isolation that ends by itself: units, filter and steps as text, and the script with commands that change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError, OptionError
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _commands, _control, _rollback, _ttl, _undo
from ansible_collections.firebreak.response.plugins.module_utils._isolation._backends import Nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._control import Isolation
from ansible_collections.firebreak.response.plugins.module_utils._isolation._release import Release
from ansible_collections.firebreak.response.plugins.module_utils._isolation._layer2_backend import Layer2
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan

SSH = Session("10.0.0.9", 50000, "10.0.0.5", 22, "sshd-socket", [])
PLAN = make_plan(SSH, ["10.0.0.7 6514/tcp", "10.0.0.7 514/udp", "2001:db8::/64 9100/tcp in", "10.0.0.8 icmp"], [], ["fd00::/64"], "ssh")
AT = 1795513317.9


def program(folder, name: str, text: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n" + text, encoding="ascii")
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_the_timer_says_when_in_utc_and_outlives_a_reboot():
    found = _ttl.units("INC-42", "/var/lib/firebreak/INC-42", "abcd", AT, "/usr/bin/python3")
    assert list(found) == ["firebreak-end-INC-42.service", "firebreak-end-INC-42.timer"]
    timer = found["firebreak-end-INC-42.timer"].splitlines()
    assert {"OnCalendar=2026-11-24 09:41:57 UTC", "Persistent=true", "AccuracySec=1s", "WantedBy=timers.target"} <= set(timer)
    assert "ExecStart=/usr/bin/python3 -I -S /var/lib/firebreak/INC-42/end.py end abcd" in found["firebreak-end-INC-42.service"].splitlines()


def test_sockets_are_ended_but_those_that_the_policy_allows():
    assert _ttl.forbidden(PLAN, ["10.0.0.5", "fd00::5"]) == (
        "not ( dst 127.0.0.0/8 or dst [::1] or dst 10.0.0.5 or dst [fd00::5] or ( dst 10.0.0.9/32 and sport = :22 ) or ( dst [fd00::]/64 and sport = :22 )"
        " or ( dst 10.0.0.7/32 and dport = :6514 ) or ( dst [2001:db8::]/64 and sport = :9100 ) )")
    many = make_plan(SSH, ["10.1.{0}.1 6514/tcp".format(number) for number in range(250)], [], [], "ssh")
    assert _ttl.forbidden(many, []) is None


def test_steps_end_sockets_before_the_rules_go_and_what_holds_the_rules_before_them(tmp_path, monkeypatch):
    for name in ("ss", "nft", "systemctl", "rm", "iptables"):
        program(tmp_path / "usr/sbin", name, "")
    found = _ttl.steps(Nftables("/usr/sbin/nft", Layer2(None)), {}, PLAN, [], ["/unit", "/folder"], "hold.service", str(tmp_path))
    lines = [" ".join(os.path.basename(word) if index == 0 else word for index, word in enumerate(step["argv"])) for step in found]
    assert lines[0].startswith("ss -H -K -t -n not ( ") and lines[1] == "test ! -e /folder/fallback"
    assert lines[-1] == "nft -f -" and lines[-2] == "nft delete table netdev firebreak_held"
    again = ["systemctl stop hold.service", "rm -rf -- /unit /folder", "systemctl daemon-reload", "systemctl kill --signal=KILL hold.service",
             "systemctl stop hold.service"]
    spared = found[1]["spares"]
    assert lines[2:7] == again and lines[2 + spared:7 + spared] == again
    assert lines[7:2 + spared] and all(line.startswith(("iptables ", "iptables-restore ")) for line in lines[7:2 + spared])


def test_without_ss_or_with_too_long_a_policy_only_the_rules_go(tmp_path):
    lines = [step["argv"][0] for step in _ttl.steps(Nftables("/usr/sbin/nft", Layer2(None)), {}, PLAN, [], ["/folder"], "hold.service", str(tmp_path))]
    assert not [line for line in lines if line.endswith("ss")] and lines[-1] == "/usr/sbin/nft"


def test_what_was_only_observed_is_not_ended(tmp_path):
    program(tmp_path / "usr/sbin", "ss", "")
    engine = Nftables("/usr/sbin/nft", Layer2(None))
    for mode, ended in (("observe", False), ("full", True), ("egress", True)):
        plan = make_plan(SSH, [], [], [], "ssh", mode)
        lines = [" ".join(step["argv"]) for step in _ttl.steps(engine, {}, plan, [], ["/folder"], "hold.service", str(tmp_path))]
        assert any("ss -H -K" in line for line in lines) is ended, mode


def deadline(tmp_path, systemd: bool = True):
    for folder in ("var/lib/firebreak", "etc/systemd/system", *(["run/systemd/system"] if systemd else [])):
        (tmp_path / folder).mkdir(parents=True)
    program(tmp_path / "usr/bin", "systemctl",
            "cd '{0}'; case $1 in restart) touch active;; stop) rm -f active;; is-active) test -e active;; esac\n".format(tmp_path))
    work = Workdir("INC-42", str(tmp_path / "var/lib/firebreak"))
    work.make()
    return work, _ttl.Deadline(work, str(tmp_path))


def test_a_timer_comes_and_goes_without_a_trace(tmp_path):
    work, mine = deadline(tmp_path)
    end = {"ttl": 600, "at": AT, "token": "abcd"}
    assert not mine.stands(end, 600) and not _commands.ends("INC-42", str(tmp_path))
    mine.put(end)
    assert mine.stands(end, 600) and not mine.stands(end, 700) and not mine.stands(None, 600) and not mine.stands({**end, "token": "other"}, 600)
    assert _commands.ends("INC-42", str(tmp_path))
    link = tmp_path / "etc/systemd/system/timers.target.wants/firebreak-end-INC-42.timer"
    assert os.readlink(str(link)) == "../firebreak-end-INC-42.timer"
    (tmp_path / "active").unlink()
    assert not mine.stands(end, 600), "somebody has stopped it"
    stamp = tmp_path / "var/lib/systemd/timers/stamp-firebreak-end-INC-42.timer"
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    mine.remove()
    assert os.listdir(work.path) == os.listdir(str(stamp.parent)) == [] and not _commands.ends("INC-42", str(tmp_path))
    assert [path for _folder, _folders, files in os.walk(str(tmp_path / "etc")) for path in files] == []


def test_a_diff_says_when_an_isolation_ends_and_ended(tmp_path):
    dummy, mine = deadline(tmp_path)
    end = {"ttl": 600, "at": AT, "token": "abcd"}
    at, after = "ends by itself at 2026-11-24T09:41:57Z\n", "ends by itself after {0} seconds\n"
    assert mine.change(None, None, False) is None and mine.change(None, 600, False) == ("", after.format(600))
    mine.put(end)
    assert mine.change(end, 600, True) is None
    assert mine.change(end, 700, True) == (at, after.format(700)) and mine.change(end, 0, True) == (at, "")
    (tmp_path / "active").unlink()  # somebody has stopped it: it ends when it would have ended
    assert mine.change(end, 600, True) == (at, at) and mine.change(end, 600, False) == ("", at)
    assert mine.change("damaged", None, True) == ("", "") and mine.change({"at": "x"}, 600, True) == ("", after.format(600))


def test_a_folder_in_the_place_of_the_timer_goes_with_it(tmp_path):
    _work, found = deadline(tmp_path)
    for path in (tmp_path / "etc/systemd/system" / _commands.end_units("INC-42")[1], tmp_path / "run/systemd/system" / _commands.end_units("INC-42")[0]):
        (path / "in").mkdir(parents=True)
    assert found.remove() == [] and not _commands.ends("INC-42", str(tmp_path))


def test_no_end_is_told_that_has_no_timer(tmp_path):
    isolation = Isolation(Workdir("X", str(tmp_path)), PLAN, root=str(tmp_path))
    isolation.state = {"confirmed": True, "end": {"at": AT}}
    assert isolation._ends_at() is None


def test_a_timer_takes_itself_away(tmp_path):
    work, mine = deadline(tmp_path)
    mine.put({"ttl": 600, "at": AT, "token": "abcd"})
    assert _undo.perform(mine.last()) == 0
    assert os.listdir(work.path) == [] and not _commands.ends("INC-42", str(tmp_path))


def test_without_systemd_there_is_no_end(tmp_path):
    dummy, mine = deadline(tmp_path, systemd=False)
    with pytest.raises(HostError, match="^ttl: .*nothing was changed"):
        mine.check()


@pytest.mark.parametrize("ttl", [-1, 59, 2592001, "600", 60.5])
def test_a_time_that_cannot_be_is_named(tmp_path, ttl):
    with pytest.raises(OptionError, match="^ttl: .*from 60 to 2592000 seconds, or 0 for no end"):
        Isolation(Workdir("X", str(tmp_path)), PLAN).moves_deadline(ttl)


@pytest.mark.parametrize("none", [None, 0])
def test_who_asks_for_no_end_pays_for_none(tmp_path, none):
    isolation = Isolation(Workdir("X", str(tmp_path)), PLAN, root=str(tmp_path))
    assert isolation.moves_deadline(none) is False and isolation.end_change == ("", "")
    isolation.state = {"confirmed": True}
    isolation.end_after(none)
    assert isolation.changed is False and os.listdir(str(tmp_path)) == []


def confirmed(tmp_path, monkeypatch, old: object) -> Isolation:
    """An isolation in force whose work folder says this of its end; what would be done is only noted."""
    work, dummy = deadline(tmp_path)
    isolation = Isolation(work, PLAN, root=str(tmp_path))
    isolation.state = {"confirmed": True, "end": old}
    monkeypatch.setattr(isolation, "_take_engine", lambda: Nftables("/usr/sbin/nft", Layer2(None)))
    monkeypatch.setattr(_control, "own_addresses", lambda _proc: [])
    isolation.end_after(600)
    return isolation


def test_who_removes_the_timer_wins_no_time_and_whoever_damages_the_record_neither(tmp_path, monkeypatch):
    now = time.time()
    for number, (old, expected) in enumerate((
            (None, 600), ({"ttl": 600, "at": now + 100, "token": "x"}, 100), ({"ttl": 600, "at": now - 5, "token": "x"}, 10),
            ({"ttl": 700, "at": now + 100, "token": "x"}, 600), ({"ttl": 600, "at": now + 9e9, "token": "x"}, 600), ({"ttl": 600, "at": "x"}, 600),
            ({"ttl": 600, "at": 1e300, "token": "x"}, 600), ("damaged", 600))):
        isolation = confirmed(tmp_path / str(number), monkeypatch, old)
        assert isolation.changed and abs(isolation.state["end"]["at"] - now - expected) < 30, old
        assert isolation._ends_at() and isolation._why_no_end == ""


@pytest.mark.parametrize("end", [None, "x", {}, {"at": "x"}, {"at": 1e300}, {"at": -1}])
def test_a_damaged_end_is_none(tmp_path, end):
    isolation = Isolation(Workdir("X", str(tmp_path)), PLAN, root=str(tmp_path))
    isolation.state = {"confirmed": True, "end": end}
    assert isolation._ends_at() is None


def test_an_isolation_whose_timer_does_not_start_is_confirmed_all_the_same_and_says_so(tmp_path, monkeypatch):
    def fails(_self, _end) -> None:
        raise HostError("ttl: systemd does not start it")

    monkeypatch.setattr(_ttl.Deadline, "put", fails)
    isolation = confirmed(tmp_path, monkeypatch, None)
    assert isolation._why_no_end == "ttl: systemd does not start it"


def folder(tmp_path, isolation: dict[str, object]) -> str:
    (tmp_path / "case").mkdir()
    (tmp_path / "case/state.json").write_text(json.dumps({"isolation": isolation}), encoding="ascii")
    return str(tmp_path / "case")


def read(tmp_path) -> dict[str, object]:
    return json.loads((tmp_path / "case/state.json").read_text(encoding="ascii"))["isolation"]


def touch(path) -> list[dict[str, object]]:
    return [{"argv": ["/usr/bin/touch", str(path)]}]


def never(seconds: float) -> None:
    raise AssertionError("there is nothing to wait for")


@pytest.fixture(autouse=True)
def said(monkeypatch) -> list[str]:
    """What is told to the host's log."""
    lines: list[str] = []
    monkeypatch.setattr(_undo, "tell", lambda case, message: lines.append(message))
    return lines


def test_when_the_time_is_over_the_isolation_ends_and_the_next_run_can_tell(tmp_path, said):
    end = {"token": "x", "steps": touch(tmp_path / "done"), "last": touch(tmp_path / "last")}
    assert _undo.Undo(folder(tmp_path, {"confirmed": True, "end": end}), "x").end(never) == "ended"
    assert (tmp_path / "done").exists() and (tmp_path / "last").exists()
    state = read(tmp_path)
    assert state["ended_at"] and state["end"] is None and state["end_failed"] == 0 and "ended by itself" in said[0]
    isolation = Release(Workdir("X", str(tmp_path)), None)
    isolation.state = state
    assert state["ended_at"] in isolation.ended()[0] and "had ended" in isolation.ended()[0]
    isolation.state["end_failed"] = 1
    assert "was to end" in isolation.ended()[0] and "commands of that failed" in isolation.ended()[0], "it may be in force still"


@pytest.mark.parametrize("isolation", [{}, {"end": None}, {"end": {"token": "other", "steps": [{"argv": ["/usr/bin/false"]}]}}])
def test_a_deadline_that_was_replaced_does_nothing(tmp_path, isolation, said):
    assert _undo.Undo(folder(tmp_path, isolation), "x").end(never) == "kept"
    assert read(tmp_path) == isolation and said == []


def test_a_change_that_nobody_has_confirmed_yet_is_waited_for(tmp_path):
    previous = {"confirmed": True, "end": {"token": "x", "steps": touch(tmp_path / "done")}}
    place = folder(tmp_path, {"confirmed": False, "previous": previous})
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        (tmp_path / "case/state.json").write_text(json.dumps({"isolation": {"rolled_back_at": "then", "previous": previous}}), encoding="ascii")

    assert _undo.Undo(place, "x").end(sleep) == "ended"
    assert waited == [5] and (tmp_path / "done").exists()


def test_a_change_that_was_confirmed_has_an_end_of_its_own(tmp_path):
    previous = {"confirmed": True, "end": {"token": "x", "steps": touch(tmp_path / "done")}}
    place = folder(tmp_path, {"confirmed": False, "previous": previous})

    def sleep(seconds: float) -> None:
        (tmp_path / "case/state.json").write_text(json.dumps({"isolation": {"confirmed": True, "previous": None}}), encoding="ascii")

    assert _undo.Undo(place, "x").end(sleep) == "kept" and not (tmp_path / "done").exists()


def test_the_script_runs_alone_and_by_its_own_name(tmp_path):
    end = {"token": "x", "steps": touch(tmp_path / "done"), "last": []}
    place = folder(tmp_path, {"confirmed": True, "end": end})
    with open(_undo.__file__, encoding="utf-8") as source, open(place + "/end.py", "w", encoding="utf-8") as copy:
        copy.write(source.read())
    subprocess.run(["python3", "-I", "-S", place + "/end.py", "end", "x"], check=True, timeout=20)
    assert (tmp_path / "done").exists() and read(tmp_path)["ended_at"]
    work = Workdir("case", str(tmp_path))
    _rollback.sweep(work)
    assert os.listdir(work.path) == ["state.json"]
