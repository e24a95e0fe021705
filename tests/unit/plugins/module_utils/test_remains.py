# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stays on the host is told, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from ansible_collections.firebreak.response.plugins.module_utils import _remains
from ansible_collections.firebreak.response.plugins.module_utils._host._processes import now, read_process
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir, unknown_here

OLD, NEW = "20261124T042751.123Z-volatile", "20261124T052751.123Z-volatile"


@pytest.fixture
def work(tmp_path):
    found = Workdir("INC-1", str(tmp_path / "work"))
    found.make()
    return found


@pytest.fixture
def stopped():
    process = subprocess.Popen(["sleep", "600"])
    os.kill(process.pid, signal.SIGSTOP)
    end = time.monotonic() + 10
    while (now(read_process(process.pid), "/proc") or "") not in "Tt" and time.monotonic() < end:
        time.sleep(0.01)
    yield read_process(process.pid)
    process.kill()
    process.wait()


def bundle(work, name, whole=True):
    work.write(name + ".tar.gz", b"x" * 10)
    if whole:
        work.write(name + ".manifest.json", b"{}")


def rolled_back(**more):
    return {"rolled_back": True, "changed": False, "reasons": ["the rollback has fired"], **more}


def test_of_a_host_that_has_nothing_more_nothing_is_said(work):
    assert _remains.remains(work) == []
    assert _remains.told(work, rolled_back()) == rolled_back()


def test_evidence_is_named_with_path_and_size_and_what_was_cut_short(work):
    bundle(work, OLD)
    bundle(work, NEW, whole=False)
    work.write("state.json", b"{}")
    os.symlink("/etc/passwd", work.file("20261124T062751.123Z-volatile.tar.gz"))
    said = _remains.evidence(work)
    assert len(said) == 1 and "passwd" not in said[0] and "state.json" not in said[0]
    assert f"{work.path}/{OLD}.tar.gz (10 bytes), {work.path}/{NEW}.tar.gz (10 bytes, cut short)" in said[0]


def test_many_bundles_are_counted(work):
    for second in range(10, 17):
        bundle(work, f"202611240427{second}.123Z-volatile".replace("20261124", "20261124T"))
    assert "and 3 more" in _remains.evidence(work)[0]


def test_what_is_stopped_is_named_until_it_is_gone_or_runs(work, stopped):
    work.update(frozen=[{"pid": stopped.pid, "start": stopped.start, "name": "xmrig"}, {"pid": stopped.pid, "start": stopped.start + 1}])
    result = _remains.told(work, rolled_back())
    assert result["changed"] is True and result["reasons"][1].startswith("1 processes stay stopped (xmrig): ")
    assert now(stopped, "/proc") in ("T", "t")
    os.kill(stopped.pid, signal.SIGCONT)
    end = time.monotonic() + 10
    while now(stopped, "/proc") in ("T", "t") and time.monotonic() < end:
        time.sleep(0.01)
    assert _remains.remains(work) == []


def test_cron_tables_are_named(work):
    work.update(disabled=[{"file": "/etc/cron.d/x"}])
    assert _remains.remains(work)[0].startswith("1 cron tables stay changed")


@pytest.mark.parametrize("steps, received, run, expected", [
    ({"isolation": {}}, False, None, [OLD]),  # the last one is on offer
    ({"isolation": {}}, True, None, [OLD, NEW]),  # what was on offer is gone already
    ({"isolation": {}}, False, {"pid": 1, "done": False}, [OLD, NEW]),  # the run was killed and has offered nothing
    ({}, False, None, [OLD, NEW]),  # the module `isolation` offers none
])
def test_what_the_controller_is_about_to_fetch_is_not_said_to_stay(work, steps, received, run, expected):
    bundle(work, OLD)
    bundle(work, NEW)
    work.update(run=run)
    said = " ".join(_remains.told(work, rolled_back(steps=steps), received)["reasons"])
    assert [name for name in (OLD, NEW) if name in said] == expected


def test_an_isolation_that_stands_says_nothing_of_what_remains(work):
    bundle(work, OLD)
    assert _remains.told(work, {"changed": False, "reasons": []}) == {"changed": False, "reasons": []}


def test_a_case_of_which_the_host_has_nothing_is_said_to_be_unknown(tmp_path, work):
    assert unknown_here(work) == []
    assert "INC-2" in unknown_here(Workdir("INC-2", str(tmp_path / "work")))[0] and not (tmp_path / "work/INC-2").exists()
