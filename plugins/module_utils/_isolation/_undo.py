# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Undo an isolation that nobody confirmed. Runs alone on the host, after the module is gone: `undo.py TOKEN`.

It imports nothing of ours and uses no shell. Beside it lie state.json, which holds the commands, and the file `armed-TOKEN`.
Who renames that file decides: the confirmation and the undo never both happen.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def tell(case: str, message: str) -> None:
    """One line in the host's log."""
    import syslog

    syslog.openlog("incident_response", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, "case={0} {1}".format(case, message))


def start_of(pid: int) -> int | None:
    """Start time of a process in ticks since boot (proc_pid_stat(5), field 22); None where it is gone."""
    try:
        with open("/proc/{0}/stat".format(pid), "rb") as handle:
            return int(handle.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def empty(argv: list[str], chain: str) -> bool:
    """Whether iptables-save shows nothing of anybody's in a table, or in one built-in chain of it where `chain` is given."""
    import subprocess

    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if chain:
        lines = [line for line in lines if line.startswith((":" + chain + " ", "-A " + chain + " "))]
    return done.returncode == 0 and not any(
        line.startswith("-A ") or (line.startswith(":") and " ACCEPT " not in line) for line in lines)


def perform(steps: list[dict[str, object]]) -> int:
    """Run the commands of the way back; how many failed that should not have.

    One that succeeds makes the next `spares` ones needless.
    """
    import subprocess

    failed = spared = 0
    for step in steps:
        if spared:
            spared -= 1
            continue
        check = step.get("if_empty")
        if isinstance(check, list) and not empty(check, str(step.get("chain", ""))):
            continue
        argv = step["argv"]
        if not isinstance(argv, list):
            continue
        try:
            done = subprocess.run(
                argv, input=str(step.get("stdin", "")).encode("ascii"), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=_ENVIRONMENT, timeout=20, check=False)
            bad = done.returncode != 0
        except (OSError, subprocess.SubprocessError):
            bad = True
        if bad and not step.get("may_fail"):
            failed += 1
        elif not bad:
            spared = int(str(step.get("spares", 0)))
    return failed


def thaw(frozen: object) -> int:
    """Let go on what was stopped, if it is still the same process; how many."""
    count = 0
    for entry in frozen if isinstance(frozen, list) else []:
        if isinstance(entry, dict) and start_of(int(entry["pid"])) == entry["start"]:
            try:
                os.kill(int(entry["pid"]), signal.SIGCONT)
                count += 1
            except OSError:
                continue
    return count


def undo(folder: str, token: str) -> bool:
    """Take the isolation back, unless it was confirmed first. Whether it did."""
    try:
        os.rename(os.path.join(folder, "armed-" + token), os.path.join(folder, "undone-" + token))
    except OSError:
        return False
    import json

    path = os.path.join(folder, "state.json")
    with open(path, encoding="ascii") as handle:
        state = json.load(handle)
    isolation = state.get("isolation", {})
    failed = perform(isolation.get("back", []))
    if failed:  # the lock may have been held by somebody
        time.sleep(1)
        failed = perform(isolation.get("back", []))
    thawed = 0
    if not state.get("run", {}).get("done", True):
        thawed = thaw(state.get("frozen"))
    with open(path, encoding="ascii") as handle:  # a run that still lives may have written meanwhile
        state = json.load(handle)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    state["rolled_back_at"] = at
    if isinstance(state.get("isolation"), dict):
        state["isolation"].update(rolled_back_at=at, rollback_failed=failed)
    with open(path + ".undo", "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as handle:
        json.dump(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(path + ".undo", path)
    tell(os.path.basename(folder), "isolation rolled back: nobody confirmed it over a fresh connection"
         + ("; {0} commands failed".format(failed) if failed else "")
         + ("; {0} processes thawed".format(thawed) if thawed else ""))
    return True


def main() -> None:
    """Undo what lies beside this file."""
    undo(os.path.dirname(os.path.abspath(__file__)), sys.argv[1])


if __name__ == "__main__":
    main()
