# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real processes, found, stopped, captured and killed by the real kernel. Needs root, touches nothing else.

Each scenario runs in PID, mount and network namespaces of its own, in which this file is the program: process 1 plays the
host, a child of it is the responder.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import pytest

TREE = next(str(parent.parent) for parent in pathlib.Path(__file__).resolve().parents if parent.name == "ansible_collections")
sys.path.insert(0, TREE)

from ansible_collections.firebreak.response.plugins.module_utils._evidence._bundle import Bundle
from ansible_collections.firebreak.response.plugins.module_utils._host import _pidfd
from ansible_collections.firebreak.response.plugins.module_utils._host import _processes as table
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes import _freeze, _kill, _run
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline
from ansible_collections.firebreak.response.tests.integration.kernel.process_host import (
    BEACON, RESPAWNER, SLEEP, alive, deleted, full, pids, play, program, reverse_shell, start, suspects, told, until,
)


# --- scenarios: each runs in namespaces of its own; `host()` starts what there is and returns what the responder is given ---


def intruders_end_and_nobody_else(work: Workdir):
    shell = reverse_shell()
    bad = {
        "shell": shell,
        "udp": deleted("/dev/shm/.c", "dbus-run", BEACON.format(family="AF_INET", peer="198.51.100.7", connected=True)),
        "udp6": deleted("/dev/shm/.f", "gvfsd", BEACON.format(family="AF_INET6", peer="2001:db8:1::7", connected=True)),
        "unconnected": deleted("/dev/shm/.g", "gvfsm", BEACON.format(family="AF_INET6", peer="2001:db8:1::7", connected=False)),
        "miner": deleted("/tmp/.m", "xmrig", SLEEP, "-o", "stratum+tcp://pool.example:3333", "--donate-level", "1"),
        "kworker": start([program("/tmp", ".k", "/bin/sleep"), "3600"], "[kworker/0:1]"),
    }
    path = program("/var/tmp/.x", "watch")
    for name, text in (("w.py", RESPAWNER), ("m.py", SLEEP)):
        pathlib.Path("/var/tmp/.x", name).write_text(text, encoding="ascii")
    bad["guarded"] = start([path, "/var/tmp/.x/m.py", "-o", "stratum+tcp://pool.example:3333"])
    bad["respawner"] = start([path, "/var/tmp/.x/w.py", "a", "b"])
    os.makedirs("/tmp/.mount_app/usr/bin")
    good = {
        "image": start([program("/tmp/.mount_app/usr/bin", "app", "/bin/sleep"), "3600"]),
        "grep": start(["/bin/sh", "-c", "grep stratum+tcp:// /dev/stdin"], stdin=subprocess.PIPE),
        "sleep": start(["/bin/sleep", "3600"]),
        "vim": start(["/bin/sleep", "3600"], "vim"),
        "script": start(["/bin/sh", "-c", "cd /tmp; sleep 3600 & wait"]),
    }
    until(lambda: os.path.exists("/var/tmp/.x/a") and os.path.exists("/var/tmp/.x/b"))

    def respond() -> None:
        began = time.monotonic()
        result = full(work)
        print(json.dumps({"seconds": time.monotonic() - began, "terminated": len(result["terminated"])}))
        assert not [name for name, one in bad.items() if one.pid not in pids(result["terminated"])], told(result)
        assert len(result["terminated"]) == len(bad) + 1  # the other respawner
        assert result["verdict"] == "contained", result["reasons"]
        assert result["changed"] and not result["survivors"]
        assert not any(alive(one.pid) for one in bad.values())
        assert all(alive(one.pid) for one in good.values())
        time.sleep(0.5)
        assert not [one for one in table.first_look().values() if one.alive and (one.exe or "").startswith(("/var/tmp/", "/dev/shm/"))]
        image = next(one for one in result["findings"] if one["pid"] == good["image"].pid)
        assert image["level"] == "report" and image["rules"][0]["id"] == "writable-folder-program"
        assert "frozen" not in work.read()
        name = next(name for name in os.listdir(work.path) if name.endswith(".tar.gz"))
        with tarfile.open(work.file(name)) as archive:
            members = {member.name: member.size for member in archive}
        assert members["[root]/proc/{0}/exe".format(bad["udp"].pid)] == os.path.getsize(os.path.realpath(sys.executable))
        assert members["[root]/proc/{0}/exe".format(bad["kworker"].pid)] > 10000
        assert members["[root]/proc/{0}/maps".format(bad["shell"].pid)] > 0
        assert full(work)["changed"] is False

    return respond


def frozen_twice_and_released(work: Workdir):
    miner = deleted("/tmp/.m", "xmrig", SLEEP)
    own = start([program("/tmp/.o", "halted", "/bin/sleep"), "3600"], "[kworker/u8:3]")
    own.send_signal(signal.SIGSTOP)
    until(lambda: table.read_process(own.pid).state == "T")

    def respond() -> None:
        first = full(work, "freeze")
        assert pids(first["frozen"]) == {miner.pid, own.pid} and first["changed"] and first["verdict"] == "contained", first
        assert table.read_process(miner.pid).state == "T"
        assert pids(work.read()["frozen"]) == {miner.pid}  # the other was stopped by somebody else
        assert full(work, "freeze")["changed"] is False
        assert _run.release(Workdir(work.case, work.root, writable=False))["verdict"] == "would_be released"
        assert table.read_process(miner.pid).state == "T"
        released = _run.release(work)
        assert released["changed"] and pids(released["thawed"]) == {miner.pid} and released["verdict"] == "released"
        until(lambda: table.read_process(miner.pid).state != "T")
        assert table.read_process(own.pid).state == "T"
        assert _run.release(work)["changed"] is False

    return respond


def check_mode_says_it_and_does_nothing(work: Workdir):
    miner = deleted("/tmp/.m", "xmrig", SLEEP, "-o", "stratum+tcp://p:1")

    def respond() -> None:
        params = {"case": work.case, "state": "terminated", "pids": [], "spare": [], "critical_services": [], "second_look": 0,
                  "_phase": "apply", "_checkpoint": "", "_received": {}, "_transport": "local", "_piece": {}}
        result = _run.run(params, True, True, Timeline())
        assert pids(result["terminated"]) == {miner.pid} and result["changed"] and result["verdict"] == "would_be contained"
        assert str(miner.pid) in result["diff"]["before"] and result["diff"]["after"] == ""
        assert table.read_process(miner.pid).state != "T" and not os.path.exists(work.path)
        result = _run.run(params, False, True, Timeline())
        assert pids(result["terminated"]) == {miner.pid}
        assert result["verdict"] == "contained", (result["reasons"], result["survivors"])
        assert result["evidence"]["name"]
        assert _run.NO_SECOND_LOOK in result["not_covered"]
        assert _run.run(dict(params, _phase="finish"), False, False, Timeline())["changed"] is False
        second = _run.run(dict(params, _phase="finish", second_look=1), False, False, Timeline())
        assert second["verdict"] == "contained" and not second["survivors"], second
        again = start([program("/tmp/.m", "xmrig"), "-c", "import time; time.sleep(99)"])
        second = _run.run(dict(params, _phase="finish", second_look=1), False, False, Timeline())
        assert pids(second["survivors"]) == {again.pid} and second["verdict"] == "partial"
        assert "came back" in second["survivors"][0]["why"]

    return respond


def a_reused_number_is_not_killed(work: Workdir):
    miner = deleted("/tmp/.m", "xmrig", SLEEP, "-o", "stratum+tcp://p:1")

    def respond() -> None:
        found = suspects()
        found.decide("terminate")
        found.work = work
        assert [one.process.pid for one in found.targets] == [miner.pid]
        found.targets[0].captured = "complete"
        os.kill(miner.pid, signal.SIGKILL)
        until(lambda: not os.path.exists("/proc/{0}".format(miner.pid)))
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(miner.pid - 1), encoding="ascii")
        innocent = subprocess.Popen(["/bin/sleep", "3600"])
        assert innocent.pid == miner.pid
        found.kill()
        assert alive(innocent.pid) and found.findings[0].outcome in ("gone", "changed")

    return respond


def a_process_that_became_another_program_is_not_killed(work: Workdir):
    line = "import os,sys; sys.stdin.readline(); os.execv('/bin/sleep', ['sleep', '3600'])"
    path = program("/tmp/.m", "xmrig")
    changing = start([path, "-c", line, "stratum+tcp://p:1"], stdin=subprocess.PIPE)

    def respond() -> None:
        found = suspects()
        found.decide("terminate")
        found.work = work
        assert [one.process.pid for one in found.targets] == [changing.pid]
        found.targets[0].captured = "complete"
        changing.stdin.write(b"\n")
        changing.stdin.flush()
        until(lambda: os.readlink("/proc/{0}/exe".format(changing.pid)).endswith("sleep"))
        found.kill()
        assert found.findings[0].outcome == "changed" and alive(changing.pid)
        # and met while it is being stopped, it is judged anew
        found = suspects()
        assert not found.targets

    return respond


def without_pidfd_it_is_stopped_compared_and_killed(work: Workdir):
    miner = deleted("/tmp/.m", "xmrig", SLEEP, "-o", "stratum+tcp://p:1")

    def respond() -> None:
        for module in (_kill, _freeze):
            module.open_process = lambda pid: None
        result = full(work)
        assert pids(result["terminated"]) == {miner.pid} and not alive(miner.pid)
        assert any("no pidfd" in line for line in result["not_covered"])

    return respond


def system_calls_serve_where_python_has_no_wrapper(work: Workdir):
    sleeper = start(["/bin/sleep", "3600"])

    def respond() -> None:
        handle = _pidfd._syscall(_pidfd._OPEN, sleeper.pid, 0)
        _pidfd._syscall(_pidfd._SEND_SIGNAL, handle, signal.SIGKILL, 0, 0)
        assert _pidfd.wait_for_death({sleeper.pid: handle}, 2) == {sleeper.pid}

    return respond


def a_fork_bomb_is_stopped_and_ended(work: Workdir):
    line = ("import os,time\nfor _ in range(40):\n    if os.fork() == 0:\n        time.sleep(0.01)\n"
            "        for _ in range(2): os.fork()\n        time.sleep(99)\ntime.sleep(99)")
    bomb = deleted("/tmp/.b", "bomb", line, "stratum+tcp://p:1")

    def respond() -> None:
        result = full(work)
        assert result["verdict"] == "contained", result["reasons"]
        time.sleep(0.2)
        assert not [one for one in table.first_look().values() if one.alive and "bomb" in (one.exe or "")]
        assert not alive(bomb.pid)

    return respond


def a_traced_and_a_stopped_one_die_and_a_zombie_is_not_alive(work: Workdir):
    stopped = deleted("/tmp/.m", "stopped", SLEEP, "stratum+tcp://p:1")
    stopped.send_signal(signal.SIGSTOP)
    zombie = deleted("/tmp/.z", "zombie", SLEEP, "stratum+tcp://p:1")
    zombie.kill()
    traced = deleted("/tmp/.t", "traced", SLEEP, "stratum+tcp://p:1")
    line = ("import ctypes, time; c = ctypes.CDLL(None); c.ptrace(16, {0}, 0, 0); time.sleep(3600)").format(traced.pid)
    start([os.path.realpath(sys.executable), "-c", line])
    until(lambda: b"TracerPid:\t0" not in pathlib.Path("/proc/{0}/status".format(traced.pid)).read_bytes())
    until(lambda: table.read_process(zombie.pid).state == "Z")

    def respond() -> None:
        result = full(work)
        assert pids(result["terminated"]) == {stopped.pid, traced.pid}, result["terminated"]
        assert not alive(stopped.pid) and not alive(traced.pid) and result["verdict"] == "contained", result["reasons"]

    return respond


def the_operators_word_ends_and_critical_and_own_are_spared(work: Workdir):
    named = start(["/bin/sleep", "3600"])
    other = start(["/bin/sleep", "3600"])

    def respond() -> None:
        result = full(work, pids=[named.pid, 1, os.getpid()])
        assert pids(result["terminated"]) == {named.pid} and alive(other.pid) and alive(os.getpid())
        assert {entry["pid"]: entry["why"] for entry in result["spared"]} == {1: "process 1", os.getpid(): "our own session"}
        assert result["verdict"] == "partial"

    return respond


def hostile_names_do_no_harm(work: Workdir):
    evil = "\x1b[2J{{ lookup('pipe','id') }}\n\u202e<script>)"
    path = program("/tmp/.h", "x) S 1 \x1b[31m\ny", "/bin/sleep")
    one = start([path, "3600"], "[kworker/0:0]")
    two = start([program("/tmp/.h", "y"), "-c", SLEEP, evil, "stratum+tcp://p:1", *(["a" * 100000] * 19)], "y\udcff")
    line = r"import ctypes, time; ctypes.CDLL(None).prctl(15, b'a) R 9 (\n\xff', 0, 0, 0); time.sleep(3600)"
    three = start([program("/tmp/.h", "py"), "-c", line], "[kthreadd]")
    until(lambda: table.read_process(three.pid).name == "a) R 9 (\n\udcff")

    def respond() -> None:
        result = full(work)
        assert pids(result["terminated"]) == {one.pid, two.pid, three.pid}, told(result)
        text = json.dumps(result, ensure_ascii=False)
        assert "\x1b" not in text and "\u202e" not in text and "\\n" not in json.dumps(result["findings"]).replace("\\\\n", "")
        assert len(text) < 100000

    return respond


def cron_entries_are_disabled_and_given_back(work: Workdir):
    for folder in ("/etc/cron.d", "/var/spool/cron"):
        os.makedirs(folder, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    os.makedirs("/var/spool/cron/crontabs")
    table_file = pathlib.Path("/etc/cron.d/update")
    table_file.write_bytes(b"SHELL=/bin/sh\n# /tmp/.k\n* * * * * root /tmp/.k 3600\n* * * * * root /tmp/.kk 1\n* * * * * root cd /; '/tmp/.k'\xff")
    os.chmod(table_file, 0o640)
    os.chown(table_file, 12, 34)
    os.utime(table_file, ns=(10**18, 10**18 + 123456789))
    os.symlink("/etc/cron.d/update", "/var/spool/cron/crontabs/root")
    before = table_file.read_bytes(), os.stat(table_file)
    start([program("/tmp", ".k", "/bin/sleep"), "3600"], "[kworker/0:1]")

    def respond() -> None:
        result = full(work)
        assert [entry["file"] for entry in result["disabled"]] == ["/etc/cron.d/update"] and len(result["disabled"][0]["lines"]) == 2
        assert result["not_disabled"][0]["why"] == "it is a symbolic link"
        lines = table_file.read_bytes().split(b"\n")
        assert [line.startswith(b"#firebreak INC-1: ") for line in lines] == [False, False, True, False, True]
        assert _run.release(Workdir(work.case, work.root, writable=False))["changed"]
        released = _run.release(work)
        assert released["verdict"] == "released" and released["changed"], released
        now = table_file.read_bytes(), os.stat(table_file)
        assert now[0] == before[0]
        for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_ino", "st_size"):
            assert getattr(now[1], name) == getattr(before[1], name), name
        assert _run.release(work)["changed"] is False and not [name for name in os.listdir(work.path) if name.startswith("cron-")]

    return respond


def a_table_that_somebody_changed_is_left_alone(work: Workdir):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/cron.d"], check=True)
    table_file = pathlib.Path("/etc/cron.d/update")
    table_file.write_bytes(b"* * * * * root /tmp/.k 3600\n")
    start([program("/tmp", ".k", "/bin/sleep"), "3600"], "[kworker/0:1]")

    def respond() -> None:
        full(work)
        table_file.write_bytes(b"# mine\n")
        released = _run.release(work)
        assert released["verdict"] == "partial" and "changed since" in released["not_restored"][0]["why"]
        assert table_file.read_bytes() == b"# mine\n"

    return respond


def what_could_not_be_captured_stays_stopped(work: Workdir):
    miner = deleted("/tmp/.m", "xmrig", SLEEP, "-o", "stratum+tcp://p:1")

    def respond() -> None:
        found = suspects()
        found.decide("terminate")
        found.freeze(work)
        bundle = Bundle(work, "volatile", work.case)
        bundle.left = 0
        found.capture(bundle)
        found.kill()
        result = _run.judged(found, "terminate")
        assert not result["terminated"] and table.read_process(miner.pid).state == "T"
        assert result["verdict"] == "partial" and pids(result["frozen"]) == {miner.pid}
        found = suspects(pids=[miner.pid])
        found.decide("terminate")
        found.freeze(work)
        found.capture(bundle)
        found.kill()
        assert not alive(miner.pid)  # the operator's word

    return respond


SCENARIOS = [
    intruders_end_and_nobody_else, frozen_twice_and_released, check_mode_says_it_and_does_nothing, a_reused_number_is_not_killed,
    a_process_that_became_another_program_is_not_killed, without_pidfd_it_is_stopped_compared_and_killed,
    system_calls_serve_where_python_has_no_wrapper, a_fork_bomb_is_stopped_and_ended,
    a_traced_and_a_stopped_one_die_and_a_zombie_is_not_alive, the_operators_word_ends_and_critical_and_own_are_spared,
    hostile_names_do_no_harm, cron_entries_are_disabled_and_given_back, a_table_that_somebody_changed_is_left_alone,
    what_could_not_be_captured_stays_stopped,
]


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_scenario(scenario):
    done = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", "-n", "-m", "--kill-child", sys.executable, __file__, scenario], timeout=60, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    sys.exit(play(next(one for one in SCENARIOS if one.__name__ == sys.argv[1])))
