# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes: one record each, the kernel's raw lines beside it, the files that run, and what runs or is open though deleted."""

from __future__ import annotations

import os

from .._host._files import read_proc
from .._host._patience import each, in_time
from .._host._processes import parse_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._host._processes import Process
    from collections.abc import Callable

    from ._bundle import Bundle
    from ._context import Context

FOLDER = "live_response/process/"
# An environment is limited by the stack (2 MiB by default); the interesting part of a real one is far below this.
ENVIRON = 131072
_COMMAND_LINE = 131072
_FDS_SHOWN = 4096
_PROGRAM = 67108864
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_DELETED = " (deleted)"


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def record(context: Context, process: Process) -> tuple[dict[str, object], bytes, bytes]:
    """One process as JSON Lines has it, with its raw `stat` and `status`. A process that vanished meanwhile says so."""
    base, own = process.folder + "/", "{0}/{1}/".format(context.proc, process.pid)
    status = read_proc(base + "status", 65536)
    entry: dict[str, object] = {
        "pid": process.pid, "ppid": process.ppid, "start_ticks": process.start, "sid": process.sid, "tty": process.tty,
        "flags": process.flags, "state": process.state, "comm": process.name, "uid": process.uid,
        "kernel_thread": process.kernel_thread, "exe": process.exe, "argv": process.argv,
    }
    if process.mute:
        entry["memory"] = "does not answer"
    if not process.kernel_thread:
        environ = b"" if process.mute else read_proc(base + "environ", ENVIRON)
        entry["environ"] = environ.decode("utf-8", "surrogateescape").split("\0")[: -1 if environ[-1:] == b"\0" else None]
        if len(environ) >= ENVIRON:
            entry["environ_cut_at"] = ENVIRON
        if sum(map(len, process.argv)) + len(process.argv) >= _COMMAND_LINE:
            entry["argv_cut_at"] = _COMMAND_LINE
        entry["cwd"] = _link(base + "cwd")
        entry["root"] = _link(base + "root")
        entry["namespaces"] = {kind: _link(base + "ns/" + kind) for kind in _NAMESPACES}
        entry["loginuid"] = read_proc(own + "loginuid", 64).decode("ascii", "replace")
        descriptors = context.descriptors.get(process.pid)
        if descriptors is not None:
            entry["fds"] = dict(descriptors[:_FDS_SHOWN])
            entry["fd_count"] = len(descriptors)
    entry["cgroup"] = read_proc(base + "cgroup", 16384).decode("utf-8", "surrogateescape")
    for line in status.split(b"\n"):
        key, _colon, value = line.partition(b":")
        if key in (b"Uid", b"Gid", b"Groups", b"TracerPid", b"NSpid", b"CapEff", b"Seccomp", b"NoNewPrivs", b"VmRSS"):
            entry["status_" + key.decode("ascii")] = value.strip().decode("ascii", "replace")
    stat = read_proc(own + "stat", 4096)
    # Read last: a number that was given to somebody else meanwhile shows itself by another start time.
    parsed = parse_stat(stat)
    if parsed is None or int(parsed[1][19]) != process.start:
        entry["vanished"] = True
    return entry, stat, status


def take_first_look(bundle: Bundle, context: Context) -> None:
    """The process table as the first look saw it, from memory: quick enough to be safe before anything is stopped or cut."""
    records: list[dict[str, object]] = [
        {
            "pid": one.pid, "ppid": one.ppid, "start_ticks": one.start, "sid": one.sid, "tty": one.tty, "flags": one.flags,
            "state": one.state, "comm": one.name, "uid": one.uid, "exe": one.exe, "argv": one.argv, "stdio": one.stdio,
        }
        for one in context.processes.values()
    ]
    bundle.add_jsonl(FOLDER + "first_look.jsonl", records, "/proc/*")


def take_processes(bundle: Bundle, context: Context) -> None:
    """The process table. Starts hashing the running files beside it."""
    processes = context.processes
    images = {pid: process.exe for pid, process in processes.items() if process.exe is not None}
    context.programs.start(images, context.proc, context.end)
    records: list[dict[str, object]] = []
    stats: list[bytes] = []
    statuses: list[bytes] = []
    why = ""
    _scanned = context.descriptors  # here, not by a thread that may be left behind

    def take(process: Process) -> tuple[Process, tuple[dict[str, object], bytes, bytes] | None]:
        return process, None if context.late() else record(context, process)

    taken, stuck = each(list(processes.values()), take)
    for process in stuck:
        process.mute = True
        taken.append(take(process))
    mute = sum(1 for process in processes.values() if process.mute)
    if mute:
        why = "the memory of {0} processes does not answer".format(mute)
        context.note("processes whose memory does not answer", count=mute)
    for process, whole in taken:
        pid = process.pid
        if whole is None:
            why = "out of time after {0} of {1} processes".format(len(records), len(processes))
            continue
        entry, stat, status = whole
        records.append(entry)
        stats.append(stat)
        statuses.append(b"==> /proc/%d/status <==\n" % pid + status)
        if process.exe is not None and (process.exe.endswith(_DELETED) or process.exe.startswith("/memfd:")):
            context.note("runs from a deleted file", pid=pid, exe=process.exe, name=process.name)
    outcome = "partial" if why else "complete"
    bundle.add_jsonl(FOLDER + "processes.jsonl", records, "/proc/*", outcome, why)
    bundle.add_bytes(FOLDER + "proc_stat.txt", b"".join(stats), "/proc/*/stat")
    bundle.add_bytes(FOLDER + "proc_status.txt", b"".join(statuses), "/proc/*/status")
    context.counts["processes"] = len(processes)
    context.counts["kernel_threads"] = sum(1 for process in processes.values() if process.kernel_thread)


def take_programs(bundle: Bundle, context: Context) -> None:
    """The distinct running files with their hashes, which were computed since the process table was read."""
    done = context.programs.wait(context.deadline)
    if not done and not context.programs.of:
        context.programs.start(
            {pid: process.exe for pid, process in context.processes.items() if process.exe is not None},
            context.proc, context.deadline,
        )
        done = context.programs.wait(context.deadline)
    records: list[dict[str, object]] = []
    unhashed = 0
    for (device, inode), program in list(context.programs.files.items()):
        records.append(dict(program, dev=device, inode=inode))
        unhashed += program["sha256"] is None
    why = "{0} running files were not hashed in time".format(unhashed) if unhashed or not done else ""
    bundle.add_jsonl(FOLDER + "executables.jsonl", records, "/proc/*/exe", "partial" if why else "complete", why)
    lines = ["{0}  {1}\n".format(one["sha256"], _escaped(str(one["path"]))) for one in records if one["sha256"]]
    bundle.add_bytes(FOLDER + "hash_running_processes.sha256", "".join(lines).encode("utf-8", "surrogateescape"), "/proc/*/exe")
    context.counts["executables"] = len(records)


def _escaped(path: str) -> str:
    """A path as one line of a hash list."""
    return path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def take_deleted_files(bundle: Bundle, context: Context) -> None:
    """Files without a name that processes hold open: where, how large. Their content is for a later tier."""
    records: list[dict[str, object]] = []
    for pid, found in context.descriptors.items():
        for number, target in found:
            if target.endswith(_DELETED) and target.startswith("/"):
                start = context.processes[pid].start
                records.append({"pid": pid, "start_ticks": start, "fd": number, "target": target})

    def look() -> None:
        for entry in records:
            try:
                stat = os.stat("{0}/fd/{1}".format(context.processes[int(str(entry["pid"]))].folder, entry["fd"]))
            except OSError:
                entry["vanished"] = True
                continue
            entry.update({"dev": stat.st_dev, "inode": stat.st_ino, "size": stat.st_size, "mode": stat.st_mode})

    why = "" if in_time(look, context.deadline) else "a file system did not answer in time"
    # A copy, for the thread may still wait for a dead mount.
    listed = [dict(entry) for entry in records]
    bundle.add_jsonl(FOLDER + "open_deleted_files.jsonl", listed, "/proc/*/fd", "partial" if why else "complete", why)
    context.counts["open_deleted_files"] = len(records)


def take_deleted_programs(bundle: Bundle, context: Context) -> None:
    """A copy of every running file that has no name any more: with the process it would be gone."""
    seen: set[tuple[int, int]] = set()
    for pid, process in context.processes.items():
        exe = process.exe
        if exe is None or not (exe.endswith(_DELETED) or exe.startswith("/memfd:")):
            continue
        copy = _Copy(process.folder + "/exe", seen)
        if not in_time(copy.read, context.deadline):
            bundle.fail("deleted_programs", "out of time, or a file system did not answer")
            return
        if copy.parts is not None:
            why = "cut at {0} of {1} bytes".format(_PROGRAM, copy.size) if copy.size > _PROGRAM else copy.why
            bundle.add_bytes(
                "[root]/proc/{0}/exe".format(pid), b"".join(copy.parts), exe,
                outcome="partial" if why else "complete", why=why,
            )
    context.counts["deleted_programs"] = len(seen)


class _Copy:
    """A running file in memory: read by a thread of its own, for the attacker may run it from a mount that never answers."""

    def __init__(self, path: str, seen: set[tuple[int, int]]) -> None:
        self.path = path
        self.seen = seen
        self.parts: list[bytes] | None = None
        self.size = 0
        self.why = ""

    def read(self) -> None:
        """Read the file, unless it is one of `seen`; one that ended meanwhile took its file with it."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        try:
            stat = os.fstat(handle)
            if (stat.st_dev, stat.st_ino) in self.seen:
                return
            self.seen.add((stat.st_dev, stat.st_ino))
            self.size = stat.st_size
            self.parts = []
            left = _PROGRAM
            while left > 0:
                data = os.read(handle, min(1048576, left))
                if not data:
                    break
                self.parts.append(data)
                left -= len(data)
        except OSError as error:
            self.why = "unreadable: {0}".format(error.strerror)
        finally:
            os.close(handle)
