# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an unprivileged user can do to make a reader of /proc wait for ever holds up nobody."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _collectors
from ansible_collections.firebreak.response.plugins.module_utils._evidence._bundle import Bundle
from ansible_collections.firebreak.response.plugins.module_utils._evidence._context import Context
from ansible_collections.firebreak.response.plugins.module_utils._host import _elsewhere
from ansible_collections.firebreak.response.plugins.module_utils._host import _processes as table
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes._suspects import Suspects


@pytest.fixture
def hanging(tmp_path):
    """The number of a process whose memory does not answer."""
    script = Path(__file__).with_name("hanging_memory.py")
    with subprocess.Popen(["unshare", "--mount", sys.executable, str(script), str(tmp_path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None and daemon.stdin is not None
        pid = int(daemon.stdout.readline())
        time.sleep(0.3)
        yield pid
        daemon.stdin.close()
        daemon.wait(10)


def test_a_process_whose_memory_does_not_answer_is_named_and_not_waited_for(hanging, tmp_path):
    began = time.monotonic()
    processes = table.first_look()
    assert processes[hanging].mute and processes[hanging].exe and not processes[hanging].argv
    assert not [one for one in processes.values() if one.mute and one.pid != hanging]
    suspects = Suspects(processes, [], deep=True)
    suspects.find()
    context = Context(processes=processes, sockets=[])
    bundle = Bundle(Workdir("HANG", str(tmp_path / "work")), "volatile", "HANG")
    _collectors.run(bundle, context)
    bundle.close()
    assert time.monotonic() - began < 10
    assert bundle.outcome == "partial" and any("memory of 1 processes" in one["why"] for one in bundle.missing)
    assert any(one["what"] == "processes whose memory does not answer" for one in context.notable)


def test_a_process_whose_memory_does_not_answer_holds_up_no_search_for_ways_past_the_rules(hanging):
    began = time.monotonic()
    found = _elsewhere.ways_past()
    assert time.monotonic() - began < 5
    if _elsewhere._diagnosed() is None:  # the kernel does not tell of AF_XDP, so what processes have mapped is read
        assert [one["what"] for one in found if "does not answer" in one["what"]] == [
            "1 processes whose memory does not answer, and may use AF_XDP sockets"]
