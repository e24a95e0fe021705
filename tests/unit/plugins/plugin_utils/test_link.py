# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that never answers: the run ends, what it left behind ends, and alarms of others are as they were."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.firebreak.response.plugins.plugin_utils import _deadline as deadline
from ansible_collections.firebreak.response.plugins.plugin_utils import _link as link_of

PAUSE = time.sleep  # the real one, whatever a test puts in its place


@pytest.fixture(autouse=True)
def alarm():
    """No alarm is set before a test, and none may be left by it."""
    yield
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert (left, handler) == (0, signal.SIG_DFL)


def link(execute, limit=0.2):
    connection = SimpleNamespace(transport="ssh", _shell=SimpleNamespace(tmpdir="/tmp/ansible-x"))
    action = SimpleNamespace(_connection=connection, _execute_module=execute)
    return link_of.Link(action, "firebreak.response.contain", {"case": "INC-1"}, {}, limit), connection


def test_a_run_that_never_answers_is_a_broken_connection():
    made, connection = link(lambda **arguments: PAUSE(30))
    start = time.monotonic()
    with pytest.raises(AnsibleConnectionFailure, match="no answer for 0.2 seconds") as caught:
        made.run("first_run", "apply")
    assert time.monotonic() - start < 5 and made.seconds["first_run"] >= 0.2
    assert not link_of.never_started(caught.value)
    assert connection._shell.tmpdir is None  # cleaning it up would hang as the run did


@pytest.mark.parametrize("answer", [{"verdict": "contained"}, None])
def test_a_run_that_answers_in_time_is_as_it_was(answer):
    assert link(lambda **arguments: answer)[0].run("first_run", "apply") == answer


def test_an_error_of_the_run_comes_through():
    def fails(**arguments):
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        link(fails)[0].run("first_run", "apply")


def test_the_program_that_a_connection_waits_for_does_not_stay_behind():
    programs = []

    def waits(**arguments):
        program = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE)
        programs.append(program)
        with program.stdout:
            program.stdout.read()

    with pytest.raises(AnsibleConnectionFailure):
        link(waits)[0].run("first_run", "apply")
    assert programs[0].returncode == -signal.SIGTERM


def test_a_program_that_does_not_listen_is_killed(monkeypatch):
    monkeypatch.setattr(deadline, "_TIDY", 0.2)
    programs = []

    def waits(**arguments):
        program = subprocess.Popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=subprocess.PIPE)
        programs.append(program)
        with program.stdout:
            program.stdout.read()

    with pytest.raises(AnsibleConnectionFailure):
        link(waits, 0.5)[0].run("first_run", "apply")
    assert programs[0].wait(5) == -signal.SIGKILL


def test_a_connection_plugin_that_tries_again_after_errors_does_not_after_this_one():
    attempts = []

    def retries(**arguments):
        for _attempt in range(3):
            attempts.append(1)
            try:
                PAUSE(30)
            except Exception:  # as Ansible's ssh plugin does: what ends a run must not be one of these
                continue

    with pytest.raises(AnsibleConnectionFailure):
        link(retries)[0].run("first_run", "apply")
    assert len(attempts) == 1


def test_an_end_that_went_unheard_is_called_again(monkeypatch):
    monkeypatch.setattr(deadline, "_AGAIN", 0.1)

    def deaf(**arguments):
        try:
            PAUSE(30)
        except deadline.Late:
            PAUSE(30)

    with pytest.raises(AnsibleConnectionFailure):
        link(deaf)[0].run("first_run", "apply")


def test_a_message_to_ansible_is_never_cut_in_half(monkeypatch):
    monkeypatch.setattr(deadline, "_AGAIN", 0.1)
    written = []
    queue = {"__name__": "multiprocessing.connection", "PAUSE": PAUSE, "written": written}
    exec("def send():\n    PAUSE(0.5)\n    written.append(1)\n", queue)

    def talks(**arguments):
        queue["send"]()
        PAUSE(30)

    with pytest.raises(AnsibleConnectionFailure):
        link(talks)[0].run("first_run", "apply")
    assert written == [1]


class Rang(BaseException):
    pass


def ring(_number, _frame):
    raise Rang


def quiet():
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.parametrize("hangs", [True, False])
def test_a_later_alarm_of_the_task_gets_its_time_back(hangs):
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        made = link(lambda **arguments: PAUSE(30 if hangs else 0.2), 0.2 if hangs else 10)[0]
        if hangs:
            with pytest.raises(AnsibleConnectionFailure):
                made.run("first_run", "apply")
        else:
            made.run("first_run", "apply")
        assert 45 < signal.getitimer(signal.ITIMER_REAL)[0] <= 49.9 and signal.getsignal(signal.SIGALRM) is ring
    finally:
        quiet()


def test_a_sooner_alarm_of_the_task_rings_as_it_would_have():
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Rang):
            link(lambda **arguments: PAUSE(30), 10)[0].run("first_run", "apply")
    finally:
        quiet()


def test_outside_the_main_thread_there_is_no_limit_and_no_error():
    found = []
    made = link(lambda **arguments: PAUSE(0.3) or "answer", 0.1)[0]
    worker = threading.Thread(target=lambda: found.append(made.run("first_run", "apply")))
    worker.start()
    worker.join()
    assert found == ["answer"]


@pytest.mark.parametrize(("options", "seconds"), [
    ({}, 153), ({"confirm_within": 600, "second_look": 100, "max_seconds": 1}, 761), ({"second_look": 0}, 150), ({"confirm_within": None}, 153),
])
def test_what_a_task_asks_for_prolongs_its_limit(options, seconds):
    assert link_of.longest(options) == seconds


def test_a_piece_of_evidence_has_a_limit_of_its_own(monkeypatch):
    limits = []
    monkeypatch.setattr(link_of, "within", lambda seconds, call: limits.append(seconds))
    made = link(lambda **arguments: {}, 153)[0]
    made.run("first_run", "apply")
    made.run("evidence", "fetch", "firebreak.response.snapshot")
    assert limits == [153, 120]
