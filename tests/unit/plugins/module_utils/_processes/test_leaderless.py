# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process of which the first thread has ended while others run on: everything shows a zombie, which it is not."""

from __future__ import annotations

import os

from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes import _again as again
from ansible_collections.firebreak.response.plugins.module_utils._processes import _capture as capture
from ansible_collections.firebreak.response.plugins.module_utils._processes import _decide as decide
from ansible_collections.firebreak.response.plugins.module_utils._processes import _facts as facts
from ansible_collections.firebreak.response.plugins.module_utils._processes import _freeze as freeze


def leaderless(host, tmp_path, exe, argv, state="S", fds=(), cgroup=b"0::/x.slice\n"):
    """A process of which the first thread has ended: all that is left to see is in the folder of another thread."""
    pid = host.add(exe, argv, state="Z")
    process = host.processes[pid]
    process.threads = 2
    thread = tmp_path / str(pid) / "task" / str(pid + 5000)
    (thread / "fd").mkdir(parents=True)
    os.symlink(exe, str(thread / "exe"))
    os.symlink("/", str(thread / "root"))
    for number, inode in enumerate(fds):
        os.symlink("socket:[{0}]".format(inode), str(thread / "fd" / str(number)))
    (thread / "cgroup").write_bytes(cgroup)
    (thread / "environ").write_bytes(b"A=b\0")
    for folder, letter, count in ((tmp_path / str(pid), "Z", 2), (thread, state, 2)):
        line = "{0} (x) {1} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {2} 0 {3} 0 0\n".format(pid, letter, count, process.start)
        (folder / "stat").write_text(line, encoding="ascii")
    return pid


def test_a_process_whose_first_thread_has_ended_is_alive_and_a_suspect_for_it(host, tmp_path):
    zombie = host.add(None, [], state="Z")
    pid = leaderless(host, tmp_path, "/opt/fb", ["/opt/fb"], fds=[host.socket()])
    worse = leaderless(host, tmp_path, "/tmp/fb", ["/tmp/fb"])
    found = host.suspects()
    assert zombie not in found
    assert [rule["id"] for rule in found[pid].rules] == ["leaderless-process"] and found[pid].action == "freeze"
    assert found[worse].action == "terminate"
    world = facts.World(host.processes, host.sockets, root=str(host.root))
    assert len(world.peers(host.processes[pid])) == 1
    world.known({})
    assert len(world.peers(host.processes[pid])) == 1


def test_the_unit_of_a_process_whose_first_thread_has_ended_is_its_threads(host, tmp_path):
    pid = leaderless(host, tmp_path, "/opt/fb", ["/opt/fb"], cgroup=b"0::/system.slice/db.service\n")
    assert host.suspects(critical=["db"])[pid].spared == "critical service"


def test_the_state_of_a_process_whose_first_thread_has_ended_is_its_threads(host, tmp_path):
    stopped, sleeping = (host.processes[leaderless(host, tmp_path, "/opt/fb", ["x"], state=letter)] for letter in "TS")
    assert (freeze.state_of(stopped), freeze.state_of(sleeping)) == ("T", "S")
    work = Workdir("INC-1", str(tmp_path / "work"))
    freeze._record(work, [decide.Finding(one, facts.facts_of(one, facts.World({})), []) for one in (stopped, sleeping)])
    look = Workdir("INC-1", str(tmp_path / "work"), writable=False)
    assert [one["pid"] for one in freeze.thaw(look, str(host.root))[0]] == [stopped.pid]


def test_a_process_whose_first_thread_has_ended_is_said_to_live_on(host, tmp_path):
    process = host.processes[leaderless(host, tmp_path, "/opt/fb", ["x"])]
    state = {"terminated": [{"pid": process.pid, "start": process.start}]}
    assert [one["why"] for one in again.survivors(state, processes=host.processes)] == ["lives on, sleeping"]


class Notes:
    """A bundle that keeps what it is given: path -> (bytes, outcome)."""

    collector = ""

    def __init__(self):
        self.found = {}

    def add_bytes(self, path, data, source, outcome="complete", why=""):
        self.found[path.rpartition("/")[2]] = (data, outcome)
        return {"size": len(data), "outcome": outcome, "why": why}

    def sync(self):
        pass


def test_the_evidence_of_a_process_whose_first_thread_has_ended_is_its_threads(host, tmp_path):
    program = tmp_path / "fb-program"
    program.write_bytes(b"the program")
    process = host.processes[leaderless(host, tmp_path, str(program), ["x"])]
    finding = decide.Finding(process, facts.facts_of(process, facts.World(host.processes, root=str(host.root))), [])
    notes = Notes()
    capture.capture([finding], notes)
    assert finding.captured == "complete" and notes.found["exe"][0] == b"the program" and notes.found["environ"][0] == b"A=b\0"


def test_memory_that_does_not_answer_is_said_and_keeps_nobody_alive(host, tmp_path):
    program = tmp_path / "fb-program"
    program.write_bytes(b"the program")
    process = host.processes[leaderless(host, tmp_path, str(program), ["x"])]
    process.mute = True
    finding = decide.Finding(process, facts.facts_of(process, facts.World(host.processes, root=str(host.root))), [])
    notes = Notes()
    capture.capture([finding], notes)
    assert (finding.captured, finding.why) == ("partial", "its memory did not answer")
    assert notes.found["environ"] == (b"", "partial") and notes.found["stat"][1] == "complete"
