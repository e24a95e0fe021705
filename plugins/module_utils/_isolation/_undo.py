# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deal with an isolation that nobody confirmed. Runs alone on the host, after the module is gone: `undo.py TOKEN`.
As `end.py end TOKEN` it ends one that was confirmed, when its time is over (_ttl.py).

It imports nothing of ours and uses no shell. Beside it lie state.json, which holds the commands, and the file `armed-TOKEN`.
Who renames that file decides: the confirmation and the undo never both happen. In between it may be called `open-TOKEN`: the
way in was made wider, or somebody keeps the responder out, and a confirmation is still taken.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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


def _index(name: str) -> int:
    """The number that an interface has now; 0 where it is gone."""
    import socket

    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _filled(message: dict[str, object]) -> bytes | None:
    """What a message says today: None where its time has run out. Raises OSError where an interface of it is gone."""
    import socket
    import struct

    body = bytearray.fromhex(str(message["body"]))
    places, ages = message.get("at"), message.get("ages")
    for offset, name in places if isinstance(places, list) else []:
        struct.pack_into("=I", body, offset, socket.if_nametoindex(name))
    left = 1
    for offset in ages if isinstance(ages, list) else []:
        left = max(0, struct.unpack_from("=I", body, offset)[0] - max(0, int(time.time()) - int(str(message["seconds"]))))
        struct.pack_into("=I", body, offset, left)
    return bytes(body) if left else None


def replay(messages: object, patience: float = 4.0) -> tuple[int, list[str]]:
    """Send the kernel messages of rtnetlink that give interfaces back what they had: (how many it refuses, interfaces that are gone).

    Each is {"type", "flags": of the header; "body": hex; "at": [[offset, interface whose number belongs there], ...]; "ages": offsets
    of lifetimes, the last one to the end, as they were at "seconds"; "of": interfaces}. What is there already is none that is refused.
    Some are refused until others are in force, or until nobody has objected to an address: they are sent again, for `patience` seconds.
    """
    import errno
    import socket
    import struct

    waiting = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    if not waiting:
        return 0, []
    gone: set[str] = set()
    damaged = 0
    end = time.monotonic() + patience
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(10)
        while waiting:
            refused = []
            for message in waiting:
                try:
                    body = _filled(message)
                    # NLM_F_REQUEST and NLM_F_ACK
                    head = struct.pack("=HHII", message["type"], int(str(message["flags"])) | 5, 1, 0)
                except (struct.error, LookupError, TypeError, ValueError):  # somebody has damaged what was recorded
                    damaged += 1
                    continue
                except OSError:
                    places = message["at"]
                    gone.update(str(name) for _offset, name in (places if isinstance(places, list) else []) if not _index(str(name)))
                    continue
                if body is None:
                    continue
                channel.send(struct.pack("=I", 16 + len(body)) + head + body)
                # The answer's number is that of an error, or 0.
                if -struct.unpack_from("=i", channel.recv(65536), 16)[0] not in (0, errno.EEXIST):
                    refused.append(message)
            if not refused or time.monotonic() > end:
                return damaged + len(refused), sorted(gone)
            if len(refused) == len(waiting):
                time.sleep(0.1)
            waiting = refused
    return damaged, sorted(gone)


def silent(commands: list[list[str]]) -> bool:
    """Whether commands succeed and say nothing."""
    import subprocess

    for argv in commands:
        try:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT, timeout=20, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        if done.returncode != 0 or done.stdout.strip():
            return False
    return True


def everywhere(step: dict[str, object], folder: str = "/sys/class/net") -> list[dict[str, object]]:
    """A step for each interface that there is now, where "@DEVICE@" stands for its name; but for those in `each`."""
    import json

    but = step["each"]
    text = json.dumps({key: value for key, value in step.items() if key != "each"})
    return [json.loads(text.replace("@DEVICE@", json.dumps(name)[1:-1])) for name in sorted(os.listdir(folder))
            if not (isinstance(but, list) and name in but)]


def perform(steps: list[dict[str, object]]) -> int:
    """Run the commands of the way back; how many failed that should not have.

    One that succeeds makes the next `spares` ones needless. A step may also hold messages for the kernel (`replay`).
    """
    import subprocess

    failed = spared = 0
    for step in steps:
        if spared:
            spared -= 1
            continue
        if "each" in step:
            failed += perform(everywhere(step))
            continue
        check = step.get("if_empty")
        if isinstance(check, list) and not empty(check, str(step.get("chain", ""))):
            continue
        quiet = step.get("if_silent")
        if isinstance(quiet, list) and not silent(quiet):
            continue
        if "netlink" in step:
            try:
                failed += replay(step["netlink"])[0]
            except OSError:
                failed += 1
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


def knocks(how: object) -> int:
    """How many connections the responder began since the rules were loaded, as the kernel has counted; 0 where it cannot be told."""
    import re
    import subprocess

    if not isinstance(how, dict) or not isinstance(how.get("argv"), list):
        return 0
    try:
        done = subprocess.run(
            how["argv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT, timeout=20,
            check=False)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(int(count) for count in re.findall(str(how["pattern"]), done.stdout.decode("utf-8", "replace"), re.MULTILINE))


def _load(path: str) -> dict[str, object]:
    import json

    with open(path, encoding="ascii") as handle:
        state = json.load(handle)
    return state if isinstance(state, dict) else {}


def _note(path: str, isolation: dict[str, object], **more: object) -> None:
    """Write down what was done; a run that still lives may have written meanwhile, so the file is read again.

    Whoever spoils it shall not keep the rest from being done.
    """
    import json

    try:
        state = _load(path)
        state.update(more)
        current = state.get("isolation")
        if isinstance(current, dict):
            current.update(isolation)
        with open(path + ".undo", "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as handle:
            json.dump(state, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(path + ".undo", path)
    except (OSError, ValueError, RecursionError):
        return


def _twice(steps: object) -> int:
    """Run commands, and once more where one failed: the lock may have been held by somebody."""
    if not isinstance(steps, list):
        return 0
    failed = perform(steps)
    if failed:
        time.sleep(1)
        failed = perform(steps)
    return failed


class Undo:
    """What happens when nobody has confirmed in time: wider, then released or held."""

    def __init__(self, folder: str, token: str) -> None:
        self.folder = folder
        self.token = token
        self.path = os.path.join(folder, "state.json")

    def decide(self, now: str, then: str) -> bool:
        """Take the next step unless it was confirmed first."""
        try:
            os.rename(os.path.join(self.folder, now + "-" + self.token), os.path.join(self.folder, then + "-" + self.token))
        except OSError:
            return False
        return True

    def say(self, message: str) -> None:
        """To the host's log, with the case."""
        tell(os.path.basename(self.folder), message)

    def thaw(self, state: dict[str, object]) -> str:
        """Thaw what a run stopped that has not ended; how many, as the end of a sentence."""
        run = state.get("run")
        count = 0 if not isinstance(run, dict) or run.get("done", True) else thaw(state.get("frozen"))
        return "; {0} processes thawed".format(count) if count else ""

    def go(self, sleep: Callable[[float], None]) -> str:
        """The word for what it came to: "confirmed", "released", "held" or "sabotaged"."""
        if not self.decide("armed", "open"):
            return "confirmed"
        try:
            state = _load(self.path)
        except (OSError, ValueError, RecursionError):
            self.say("nobody confirmed the isolation, and what would undo it cannot be read: it stays, with the way in that it has")
            return "held"
        isolation = state.get("isolation")
        isolation = isolation if isinstance(isolation, dict) else {}
        if isolation.get("on_lost") == "release":
            return self.release(state, isolation)
        if knocks(isolation.get("knocks")):
            return self.sabotaged(state)
        wide = isolation.get("wide")
        if isinstance(wide, dict):
            failed = _twice(wide.get("steps"))
            # From now on these are the rules that are meant.
            _note(self.path, {**{key: wide.get(key) for key in ("plan", "rules", "frames")}, "listing": None, "widened_at": _now()})
            self.say("nobody confirmed the isolation: SSH is open to the address that began it too, the rest stays cut"
                     + _failures(failed) + self.thaw(state))
            sleep(float(str(isolation.get("second_interval", 30))))
            try:
                state = _load(self.path)
            except (OSError, ValueError, RecursionError):
                pass  # what was read before goes on: who spoils it meanwhile shall not keep the responder out
            if not os.path.exists(os.path.join(self.folder, "open-" + self.token)):
                return "confirmed"
            if knocks(isolation.get("knocks")):
                return self.sabotaged(state)
        if isolation.get("then") == "hold":
            _note(self.path, {"held_at": _now()})
            self.say("nobody confirmed the isolation: it stays, as was asked for" + self.thaw(state))
            return "held"
        return self.release(state, isolation)

    def sabotaged(self, state: dict[str, object]) -> str:
        """The responder's packets arrive and he does not get in: nothing that the network could mend."""
        _note(self.path, {"sabotaged_at": _now()})
        self.say("nobody confirmed the isolation though connections of the responder arrived: access sabotaged, the host stays isolated"
                 + self.thaw(state))
        return "sabotaged"

    def release(self, state: dict[str, object], isolation: dict[str, object]) -> str:
        """Give the network back as it was."""
        if not self.decide("open", "undone"):
            return "confirmed"
        failed = _twice(isolation.get("back", []))
        thawed = self.thaw(state)
        at = _now()
        _note(self.path, {"rolled_back_at": at, "rollback_failed": failed}, rolled_back_at=at)
        self.say("isolation rolled back: nobody confirmed it over a fresh connection" + _failures(failed) + thawed)
        return "released"

    def end(self, sleep: Callable[[float], None]) -> str:
        """The time of a confirmed isolation is over: "ended", or "kept" where somebody has decided otherwise meanwhile."""
        import fcntl

        lock = os.open(os.path.dirname(self.folder), os.O_RDONLY)
        try:
            while True:
                fcntl.flock(lock, fcntl.LOCK_EX)  # a run that is at work is waited for
                state = _load(self.path)
                isolation = state.get("isolation")
                isolation = before = isolation if isinstance(isolation, dict) else {}
                previous = isolation.get("previous")
                if isinstance(previous, dict):
                    before = previous
                if not self._is_mine(isolation) and not self._is_mine(before):
                    return "kept"
                if self._is_mine(isolation) or isolation.get("rolled_back_at"):
                    break
                # It is being replaced, and if nobody confirms that, it is in force again.
                fcntl.flock(lock, fcntl.LOCK_UN)
                sleep(5)
            mine = isolation if self._is_mine(isolation) else before
            end = mine["end"]
            end = end if isinstance(end, dict) else {}
            failed = _twice(end.get("steps"))
            record = mine.get("interfaces")
            failed += perform([{"netlink": record.get("messages")}]) if isinstance(record, dict) else 0
            _note(self.path, {"ended_at": _now(), "end_failed": failed, "end": None})
            self.say("isolation ended by itself: its time (ttl) is over" + _failures(failed))
            last = end.get("last")
            perform(last if isinstance(last, list) else [])
        finally:
            os.close(lock)
        return "ended"

    def _is_mine(self, isolation: dict[str, object]) -> bool:
        end = isolation.get("end")
        return isinstance(end, dict) and end.get("token") == self.token


def _failures(failed: int) -> str:
    return "; {0} commands failed".format(failed) if failed else ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main() -> None:
    """Deal with the isolation beside this file."""
    if sys.argv[1] == "end":
        Undo(os.path.dirname(os.path.abspath(__file__)), sys.argv[2]).end(time.sleep)
        return
    Undo(os.path.dirname(os.path.abspath(__file__)), sys.argv[1]).go(time.sleep)


if __name__ == "__main__":
    main()
