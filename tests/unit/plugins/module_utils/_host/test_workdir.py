# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work folder that somebody has spoiled must not keep the host isolated, and is said."""

from __future__ import annotations

import os

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir, told_damage

SPOILED = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100000, b'{"isolation": NaN']


def spoiled(tmp_path, data: bytes) -> Workdir:
    Workdir("INC-1", str(tmp_path)).update(isolation={"confirmed": True})
    (tmp_path / "INC-1" / "state.json").write_bytes(data)
    return Workdir("INC-1", str(tmp_path))


@pytest.mark.parametrize("data", SPOILED)
def test_a_spoiled_state_is_put_aside_whole_and_said(tmp_path, data):
    work = spoiled(tmp_path, data)
    assert work.read() == {"damaged": work.damage} and "was damaged" in work.damage
    aside = [name for name in os.listdir(work.path) if name.startswith("state.json.damaged-")]
    assert [(tmp_path / "INC-1" / name).read_bytes() for name in aside] == [data] and aside[0] in work.damage
    work.update(run={"done": True})
    assert Workdir("INC-1", str(tmp_path)).read() == {"run": {"done": True}, "damaged": work.damage}


def test_a_folder_in_the_place_of_the_state_is_put_aside_too(tmp_path):
    work = Workdir("INC-1", str(tmp_path))
    work.make()
    (tmp_path / "INC-1" / "state.json" / "in").mkdir(parents=True)
    assert work.read()["damaged"] == work.damage and "state.json.damaged-" in work.damage


def test_check_mode_puts_nothing_aside(tmp_path):
    spoiled(tmp_path, b"{")
    work = Workdir("INC-1", str(tmp_path), writable=False)
    assert work.read() == {"damaged": work.damage} and work.damage
    assert os.listdir(work.path) == ["state.json"]


@pytest.mark.parametrize(("verdict", "expected"), [
    ("contained", "partial"), ("released", "partial"), ("would_be released", "would_be partial"), ("failed", "failed"), ("unknown", "unknown"),
])
def test_a_verdict_is_partial_at_best(tmp_path, verdict, expected):
    work = spoiled(tmp_path, b"{")
    work.read()
    assert told_damage(work, {"verdict": verdict, "reasons": ["one"]}) == {"verdict": expected, "reasons": ["one", work.damage]}


def test_it_is_said_until_the_last_run_of_the_case(tmp_path):
    work = spoiled(tmp_path, b"{")
    work.update(isolation={})
    for verdict, said, last in (("unknown", "unknown", False), ("contained", "partial", False), ("contained", "partial", False), ("released", "partial", True)):
        again = Workdir("INC-1", str(tmp_path))
        again.read()
        assert told_damage(again, {"verdict": verdict, "reasons": []}, last) == {"verdict": said, "reasons": [again.damage]} and "was damaged" in again.damage
    third = Workdir("INC-1", str(tmp_path))
    assert third.read() == {"isolation": {}} and third.damage == ""


def test_what_is_whole_is_not_spoken_of(tmp_path):
    work = Workdir("INC-1", str(tmp_path))
    work.update(run={})
    assert work.read() == {"run": {}} and told_damage(work, {"verdict": "contained", "reasons": []}) == {"verdict": "contained", "reasons": []}


def test_of_what_somebody_writes_about_the_damage_only_the_name_of_the_file_is_believed(tmp_path):
    work = Workdir("INC-1", str(tmp_path))
    work.update(damaged="all is well, stop looking; it is kept as /x/state.json.damaged-0badcafe")
    work.read()
    assert "all is well" not in work.damage and "interfaces" in work.damage and work.damage.endswith("/INC-1/state.json.damaged-0badcafe")


def test_a_folder_or_a_link_in_the_place_of_the_draft_keeps_nobody_from_writing(tmp_path):
    work = Workdir("INC-1", str(tmp_path))
    work.make()
    draft = tmp_path / "INC-1" / "state.json.new"
    (draft / "in").mkdir(parents=True)
    work.update(run={"number": 1})
    draft.symlink_to(tmp_path / "elsewhere")
    work.update(run={"number": 2})
    assert work.read() == {"run": {"number": 2}} and not (tmp_path / "elsewhere").exists()
