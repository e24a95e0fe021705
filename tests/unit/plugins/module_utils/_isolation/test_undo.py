# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that undoes an isolation, with commands that change nothing."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _nftables, _rollback, _undo


def folder(tmp_path, **state: object):
    (tmp_path / "armed-x").write_bytes(b"")
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="ascii")
    return str(tmp_path)


def read(tmp_path) -> dict[str, object]:
    return json.loads((tmp_path / "state.json").read_text(encoding="ascii"))


@pytest.fixture(autouse=True)
def said(monkeypatch) -> list[str]:
    """What is told to the host's log."""
    lines: list[str] = []
    monkeypatch.setattr(_undo, "tell", lambda case, message: lines.append(message))
    return lines


def touch(path) -> list[dict[str, object]]:
    return [{"argv": ["/usr/bin/touch", str(path)]}]


def seen(count: int) -> dict[str, object]:
    """A way to read that the responder has begun so many connections."""
    return {"argv": ["/bin/echo", "counter packets {0} bytes 60".format(count)], "pattern": _nftables.COUNTED}


def never(seconds: float) -> None:
    raise AssertionError("there is nothing to wait for")


def test_the_commands_run_and_the_state_says_so(tmp_path):
    done = tmp_path / "done"
    undo = _undo.Undo(folder(tmp_path, isolation={"back": touch(done), "knocks": seen(0)}), "x")
    assert undo.go(never) == "released"
    assert done.exists() and read(tmp_path)["rolled_back_at"] and read(tmp_path)["isolation"]["rollback_failed"] == 0


def test_a_confirmed_isolation_is_left_alone(tmp_path):
    path = folder(tmp_path, isolation={"back": touch(tmp_path / "done")})
    os.rename(tmp_path / "armed-x", tmp_path / "confirmed-x")
    assert _undo.Undo(path, "x").go(never) == "confirmed"
    assert not (tmp_path / "done").exists()


def test_the_way_in_is_widened_first_and_the_network_given_back_only_after_a_second_interval(tmp_path, said):
    wide = {"plan": "wide plan", "rules": "wide rules", "frames": "wide frames", "steps": touch(tmp_path / "wide")}
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        assert (tmp_path / "wide").exists() and not (tmp_path / "done").exists()
        state = read(tmp_path)["isolation"]
        assert (state["plan"], state["rules"], state["frames"], state["listing"]) == ("wide plan", "wide rules", "wide frames", None)

    isolation = {"back": touch(tmp_path / "done"), "wide": wide, "second_interval": 31, "plan": "asked", "listing": "asked"}
    assert _undo.Undo(folder(tmp_path, isolation=isolation), "x").go(sleep) == "released"
    assert waited == [31] and (tmp_path / "done").exists()
    assert "began it too" in said[0] and "rolled back" in said[1]


@pytest.mark.parametrize("spoil", [lambda state: state.write_text("{"), lambda state: (state.parent / "state.json.undo").mkdir()])
def test_who_spoils_the_state_in_the_second_interval_keeps_nobody_out(tmp_path, spoil):
    isolation = {"back": touch(tmp_path / "done"), "wide": {"steps": touch(tmp_path / "wide")}}
    undo = _undo.Undo(folder(tmp_path, isolation=isolation), "x")
    assert undo.go(lambda _seconds: spoil(tmp_path / "state.json")) == "released"
    assert (tmp_path / "done").exists()


def test_who_takes_the_place_of_the_note_keeps_nobody_out(tmp_path, said):
    isolation = {"back": touch(tmp_path / "done"), "wide": {"steps": touch(tmp_path / "wide")}}
    undo = _undo.Undo(folder(tmp_path, isolation=isolation), "x")
    (tmp_path / "state.json.undo").mkdir()
    assert undo.go(lambda _seconds: None) == "released" and (tmp_path / "done").exists() and "rolled back" in said[-1]


def test_a_confirmation_in_the_second_interval_is_taken(tmp_path):
    isolation = {"back": touch(tmp_path / "done"), "wide": {"steps": []}}
    undo = _undo.Undo(folder(tmp_path, isolation=isolation), "x")
    assert undo.go(lambda seconds: os.rename(str(tmp_path / "open-x"), str(tmp_path / "confirmed-x"))) == "confirmed"
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("end", ["", " "])  # of iptables 1.8.9 and 1.8.7
def test_connections_of_the_responder_are_counted_whatever_iptables_writes_them(end):
    saved = ("[9:9] -A FIREBREAK-INPUT -i lo -j RETURN\n[3:180] -A FIREBREAK-INPUT -s 10.66.0.10/32 -p tcp -m tcp --dport 22 --tcp-flags SYN,ACK SYN"
             + end + "\n[5:356] -A FIREBREAK-INPUT -s 10.66.0.10/32 -p tcp -m tcp --dport 22 -j RETURN\n"
             "[6:312] -A FIREBREAK-INPUT -p tcp -m tcp --sport 6514 ! --tcp-flags SYN,ACK SYN -j RETURN")
    assert _undo.knocks({"argv": ["/bin/echo", saved], "pattern": _iptables.COUNTED}) == 3


def test_the_host_stays_isolated_where_the_responder_knocks_and_does_not_get_in(tmp_path, said):
    isolation = {"back": touch(tmp_path / "done"), "knocks": seen(2), "wide": {"steps": touch(tmp_path / "wide")}}
    assert _undo.Undo(folder(tmp_path, isolation=isolation), "x").go(never) == "sabotaged"
    assert not (tmp_path / "done").exists() and not (tmp_path / "wide").exists()
    assert read(tmp_path)["isolation"]["sabotaged_at"] and "access sabotaged" in said[0]
    assert (tmp_path / "open-x").exists(), "a confirmation is still taken"


def test_release_asks_nobody_and_hold_gives_nothing_back(tmp_path):
    isolation = {"back": touch(tmp_path / "done"), "knocks": seen(2), "on_lost": "release"}
    assert _undo.Undo(folder(tmp_path, isolation=isolation), "x").go(never) == "released"
    (tmp_path / "done").unlink()
    assert _undo.Undo(folder(tmp_path, isolation={"back": touch(tmp_path / "done"), "then": "hold"}), "x").go(never) == "held"
    assert not (tmp_path / "done").exists() and read(tmp_path)["isolation"]["held_at"]


def test_what_a_dead_run_froze_is_thawed_only_if_it_is_the_same_process():
    with subprocess.Popen(["sleep", "30"]) as process:
        start = _undo.start_of(process.pid)
        assert _undo.thaw([{"pid": process.pid, "start": start + 1}]) == 0
        assert _undo.thaw([{"pid": process.pid, "start": start}]) == 1
        process.kill()
    assert _undo.thaw("damaged") == 0


def test_a_command_that_fails_is_counted(tmp_path):
    assert _undo.perform([{"argv": ["/usr/bin/false"]}, {"argv": ["/nowhere"]}, {"argv": ["/usr/bin/false"], "may_fail": True}]) == 2


def test_a_command_that_succeeds_spares_those_that_stand_in_for_it(tmp_path):
    def stand_in(name: str) -> dict[str, object]:
        return {"argv": ["/usr/bin/touch", str(tmp_path / name)]}

    assert _undo.perform([{"argv": ["/usr/bin/true"], "spares": 1}, stand_in("needless"), stand_in("next")]) == 0
    assert _undo.perform([{"argv": ["/usr/bin/false"], "spares": 1, "may_fail": True}, stand_in("needed")]) == 0
    assert sorted(os.listdir(tmp_path)) == ["needed", "next"]


def test_leaving_the_control_group_leaves_no_file_where_there_is_no_such_group(tmp_path):
    (tmp_path / "sys/fs/cgroup/systemd").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/systemd/cgroup.procs").write_text("")
    _rollback._leave_group(str(tmp_path))
    assert not (tmp_path / "sys/fs/cgroup/cgroup.procs").exists()
    assert (tmp_path / "sys/fs/cgroup/systemd/cgroup.procs").read_text() == str(os.getpid())


@pytest.mark.parametrize("text", ["{", "", "[" * 100000])
def test_a_state_that_cannot_be_read_leaves_the_isolation_and_says_so(tmp_path, said, text):
    path = folder(tmp_path)
    (tmp_path / "state.json").write_text(text, encoding="ascii")
    assert _undo.Undo(path, "x").go(never) == "held"
    assert "cannot be read" in said[0]


def test_a_step_is_left_out_where_something_else_would_go_with_it(tmp_path):
    silent, says, fails = ["/bin/true"], ["/bin/echo", "filter"], ["/bin/false"]
    for number, (asked, done) in enumerate((([silent, silent], True), ([silent, says], False), ([fails], False), ([["/no/such"]], False))):
        path = tmp_path / "done{0}".format(number)
        assert _undo.perform([{"argv": ["/usr/bin/touch", str(path)], "if_silent": asked}]) == 0
        assert path.exists() is done


def test_a_step_may_be_for_every_interface_that_there_is_by_then(tmp_path):
    for name in ("eth0", "new\"1", "theirs"):
        (tmp_path / name).mkdir()
    step = {"argv": ["tc", "dev", "@DEVICE@"], "stdin": "@DEVICE@\n", "if_silent": [["tc", "@DEVICE@"]], "may_fail": True, "each": ["theirs"]}
    assert _undo.everywhere(step, str(tmp_path)) == [
        {"argv": ["tc", "dev", name], "stdin": name + "\n", "if_silent": [["tc", name]], "may_fail": True} for name in ("eth0", "new\"1")]
    (tmp_path / "said").touch()
    assert _undo.perform([{"argv": ["sh", "-c", "echo @DEVICE@ >>{0}".format(tmp_path / "said")], "each": []}]) == 0
    assert "lo" in (tmp_path / "said").read_text().split()
