# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that undoes an isolation, with commands that change nothing."""

from __future__ import annotations

import json
import os
import subprocess

from ansible_collections.firebreak.response.plugins.module_utils._isolation import _rollback, _undo


def folder(tmp_path, **state: object):
    (tmp_path / "armed-x").write_bytes(b"")
    (tmp_path / "state.json").write_text(json.dumps(state), encoding="ascii")
    return str(tmp_path)


def read(tmp_path) -> dict[str, object]:
    return json.loads((tmp_path / "state.json").read_text(encoding="ascii"))


def test_the_commands_run_and_the_state_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_undo, "tell", lambda case, message: None)
    done = tmp_path / "done"
    assert _undo.undo(folder(tmp_path, isolation={"back": [{"argv": ["/usr/bin/touch", str(done)]}]}), "x")
    assert done.exists() and read(tmp_path)["rolled_back_at"] and read(tmp_path)["isolation"]["rollback_failed"] == 0


def test_a_confirmed_isolation_is_left_alone(tmp_path):
    path = folder(tmp_path, isolation={"back": [{"argv": ["/usr/bin/touch", str(tmp_path / "done")]}]})
    os.rename(tmp_path / "armed-x", tmp_path / "confirmed-x")
    assert not _undo.undo(path, "x")
    assert not (tmp_path / "done").exists()


def test_what_a_dead_run_froze_is_thawed_only_if_it_is_the_same_process(tmp_path, monkeypatch):
    monkeypatch.setattr(_undo, "tell", lambda case, message: None)
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
