# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose a program or script is, and how much of what somebody else has named is kept."""

from __future__ import annotations

import json
import os

from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes import _decide as decide
from ansible_collections.firebreak.response.plugins.module_utils._processes import _freeze as freeze
from ansible_collections.firebreak.response.plugins.module_utils._processes import _kill as kill
from ansible_collections.firebreak.response.tests.unit.plugins.module_utils._processes.made_up import OWNER, mine


def owned(monkeypatch, owners, mode=0o755):
    """Let `lstat` and `stat` say whose the files are: path -> uid, all others root's and not there."""
    for name, kind in (("lstat", 0o100000), ("stat", 0o100000)):
        real = getattr(os, name)

        def fake(path, *rest, kind=kind, real=real, **more):
            text = str(path).partition("/root/")[2] if "/root/" in str(path) else str(path).lstrip("/")
            if "/" + text in owners:
                return os.stat_result((kind | mode, 1, 1, 1, owners["/" + text], 0, 0, 0, 0, 0))
            return real(path, *rest, **more)

        monkeypatch.setattr(os, name, fake)


def test_a_script_of_somebody_else_is_not_believed(host, tmp_path, monkeypatch):
    owned(monkeypatch, {"/opt/fb-own.sh": OWNER, "/opt/fb-roots.sh": 0, "/opt/fb-other.sh": 77})
    argv = "python3"
    python = "/usr/bin/python3.11"
    assert mine(host, tmp_path, python, [argv, "/opt/fb-own.sh"], OWNER).paths == ["/opt/fb-own.sh"]
    assert mine(host, tmp_path, python, [argv, "/opt/fb-roots.sh"], OWNER).paths == []
    assert mine(host, tmp_path, python, [argv, "/opt/fb-other.sh"], OWNER).paths == []
    assert mine(host, tmp_path, python, [argv, "/opt/fb-absent.sh"], OWNER).paths == []
    assert mine(host, tmp_path, python, [argv, "/opt/fb-other.sh"], 0).paths == ["/opt/fb-other.sh"]
    assert mine(host, tmp_path, python, [argv, "/tmp/fb-absent.sh"], OWNER).paths == ["/tmp/fb-absent.sh"]


def test_a_script_that_only_a_root_of_the_process_shows_as_its_own_is_not_believed(host, tmp_path, monkeypatch):
    finding = mine(host, tmp_path, "/usr/bin/python3.11", ["python3", "/opt/fb.sh"], OWNER)
    real = os.lstat

    def fake(path, *rest, **more):
        if str(path).endswith("/opt/fb.sh"):
            return os.stat_result((0o100755, 1, 1, 1, OWNER if "/root/" in str(path) else 0, 0, 0, 0, 0, 0))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "lstat", fake)
    assert finding.paths == []


def test_cron_is_kept_from_a_program_only_where_its_user_can_write_or_as_root(host, tmp_path, monkeypatch):
    owned(monkeypatch, {"/opt/fb-own": OWNER, "/opt/fb-roots": 0})
    assert mine(host, tmp_path, "/opt/fb-own", ["x"], OWNER).cron_paths == ["/opt/fb-own"]
    roots = mine(host, tmp_path, "/opt/fb-roots", ["x"], OWNER)
    assert roots.paths == ["/opt/fb-roots"] and roots.cron_paths == []
    assert mine(host, tmp_path, "/opt/fb-roots", ["x"], 0).cron_paths == ["/opt/fb-roots"]
    assert mine(host, tmp_path, "/tmp/.k", ["x"], OWNER).cron_paths == ["/tmp/.k"]


def test_what_is_there_in_a_shared_folder_is_its_owners(tmp_path):
    shared = tmp_path / "shared"
    (shared / "roots").mkdir(parents=True)
    shared.chmod(0o1777)
    assert decide._may_write(OWNER, str(shared / "new" / "x")) and not decide._may_write(OWNER, str(shared / "roots" / "x"))
    shared.chmod(0o777)
    assert decide._may_write(OWNER, str(shared / "roots" / "x")) and not decide._may_write(OWNER, str(tmp_path / "x"))


def test_the_list_of_the_ended_stays_small_whatever_they_are_called():
    paths = ["/tmp/" + "\udcff" * 4000 + str(number) for number in range(100)]
    entries = [{"pid": number, "start": number, "name": "x", "exe": "/tmp/x", "paths": [paths[number % 100]]} for number in range(3000)]
    entries[2500]["paths"] = ["/tmp/short"]
    kept = kill.bounded(entries)
    assert len(json.dumps(kept)) <= 2097152 and [one["pid"] for one in kept] == list(range(1000, 3000))
    written = [path for one in kept for path in one.get("paths", [])]
    assert "/tmp/short" in written and len(written) == len(set(written)) > 50
    assert kill.bounded(kept) == kept


def test_so_many_are_stopped_as_state_json_can_name(host, tmp_path, monkeypatch):
    monkeypatch.setattr(freeze, "_MOST", 3)
    monkeypatch.setattr(freeze, "_NAMED", 2)
    work = Workdir("INC-1", str(tmp_path / "work"))
    findings = [mine(host, tmp_path, "/tmp/.k", ["x"], 0) for _number in range(4)]
    assert freeze._record(work, findings[:1]) == findings[:1] and freeze._record(work, findings) == findings[:3]
    assert ["name" in one for one in work.read()["frozen"]] == [True, True, False]
