# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cron tables: the right lines, and back to the last byte."""

from __future__ import annotations

import os

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes import _restart as restart

TABLE = b"# /tmp/.k\n*/5 * * * * root /tmp/.k\n* * * * * root /tmp/.kk\n* * * * * root sh -c '/tmp/.k'\xff\r\n\n"


@pytest.fixture
def root(tmp_path):
    for folder in ("etc/cron.d", "var/spool/cron/crontabs"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/etc/crontab").write_bytes(b"17 * * * * root run-parts /etc/cron.hourly\n")
    return tmp_path / "root"


@pytest.fixture
def work(tmp_path):
    return Workdir("INC-1", str(tmp_path / "work"))


def test_lines_are_found_by_whole_path_and_comments_are_not():
    assert restart.matching(TABLE, ["/tmp/.k"]) == [1, 3]
    assert restart.matching(TABLE, ["/tmp"]) == [] and restart.matching(b"", ["/tmp/.k"]) == []


@pytest.mark.parametrize("name", ["etc/crontab", "etc/cron.d/x", "var/spool/cron/crontabs/root", "var/spool/cron/root"])
@pytest.mark.parametrize("data", [TABLE, b"* * * * * /tmp/.k", b"* * * * * /tmp/.k\n"])
def test_what_was_disabled_comes_back_byte_for_byte(root, work, name, data):
    file = root / name
    file.write_bytes(data)
    file.chmod(0o600)
    os.utime(str(file), ns=(5, 1600000000123456789))
    before = os.stat(str(file))
    done, not_done = restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    assert [entry["file"] for entry in done] == [str(file)] and not not_done
    assert restart.matching(file.read_bytes(), ["/tmp/.k"]) == [] and b"#firebreak INC-1: " in file.read_bytes()
    restored, failed = restart.restore(work)
    assert len(restored) == 1 and not failed
    restart.forget(work, failed)
    after = os.stat(str(file))
    assert file.read_bytes() == data
    assert (after.st_mode, after.st_uid, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_uid, before.st_mtime_ns, before.st_ino)
    assert "disabled" not in work.read() and os.listdir(work.path) == ["state.json"]


def test_a_second_run_adds_to_the_first_and_both_come_back(root, work):
    file = root / "etc/cron.d/x"
    file.write_bytes(TABLE)
    restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    assert restart.find_entries(["/tmp/.k"], str(root)) == []
    restart.disable(work, restart.find_entries(["/tmp/.kk"], str(root)))
    assert restart.restore(work)[1] == [] and file.read_bytes() == TABLE


def test_a_table_that_changed_since_is_left_alone_and_its_copy_kept(root, work):
    file = root / "etc/cron.d/x"
    file.write_bytes(TABLE)
    restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    file.write_bytes(file.read_bytes() + b"# mine\n")
    mine = file.read_bytes()
    restored, failed = restart.restore(work)
    restart.forget(work, failed)
    assert not restored and "changed since" in failed[0]["why"] and file.read_bytes() == mine
    assert len(os.listdir(work.path)) == 2


def test_links_and_pipes_are_not_written_to(root, work):
    target = root / "elsewhere"
    target.write_bytes(TABLE)
    os.symlink(str(target), str(root / "etc/cron.d/link"))
    os.mkfifo(str(root / "etc/cron.d/pipe"))
    done, not_done = restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    assert not done and not_done[0]["why"] == "it is a symbolic link" and target.read_bytes() == TABLE


def test_a_table_that_changes_between_look_and_write_is_not_written(root, work):
    file = root / "etc/cron.d/x"
    file.write_bytes(TABLE)
    entries = restart.find_entries(["/tmp/.k"], str(root))
    file.write_bytes(b"# other\n")
    done, not_done = restart.disable(work, entries)
    assert not done and not_done[0]["why"] == "it changed meanwhile" and file.read_bytes() == b"# other\n"


def test_check_mode_writes_nothing(root, work):
    file = root / "etc/cron.d/x"
    file.write_bytes(TABLE)
    look = Workdir("INC-1", work.root, writable=False)
    with pytest.raises(HostError):
        restart.disable(look, restart.find_entries(["/tmp/.k"], str(root)))
    assert file.read_bytes() == TABLE
    restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    disabled = file.read_bytes()
    assert len(restart.restore(look)[0]) == 1 and file.read_bytes() == disabled


def test_what_state_json_tells_of_disabled_lines_is_bounded_and_all_of_it_comes_back(root, work, monkeypatch):
    monkeypatch.setattr(restart, "_SHOWN_BYTES", 100)
    for name in ("a", "b"):
        (root / "etc/cron.d" / name).write_bytes(b"* * * * * root /tmp/.k " + b"\xf0\x9f\x94\xa5" * 20 + b"\n")
    done, not_done = restart.disable(work, restart.find_entries(["/tmp/.k"], str(root)))
    assert len(done) == 2 and not not_done and all(entry["lines"] for entry in done)
    assert [one["lines"] for one in work.read()["disabled"]] == [[], []]
    assert len(restart.restore(work)[0]) == 2 and b"firebreak" not in (root / "etc/cron.d/a").read_bytes()
