# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The system: kernel, modules, mounts, clock, who is logged in."""

from __future__ import annotations

import os

from .._host._clock import read_clock
from .._host._files import read_proc, read_regular
from .._host._logins import parse_utmp, read_sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._bundle import Bundle
    from ._context import Context

FOLDER = "live_response/system/"
_FILE = 4194304
_UTMP = 4194304
_KERNEL = (
    "version", "cmdline", "uptime", "loadavg", "meminfo", "stat", "sys/kernel/random/boot_id", "sys/kernel/tainted",
    "sys/kernel/hostname", "sys/kernel/core_pattern", "sys/kernel/modules_disabled", "sys/kernel/kptr_restrict",
    "sys/kernel/yama/ptrace_scope", "sys/kernel/randomize_va_space", "sys/kernel/sysrq", "sys/net/ipv4/ip_forward",
    "sys/net/ipv6/conf/all/forwarding", "swaps", "filesystems",
)


def _raw(bundle: Bundle, context: Context, names: tuple[str, ...]) -> None:
    for name in names:
        data = read_proc("{0}/{1}".format(context.proc, name), _FILE)
        if data:
            cut = len(data) >= _FILE
            bundle.add_bytes(
                "[root]/proc/" + name, data, "/proc/" + name, outcome="partial" if cut else "complete",
                why="cut at {0} bytes".format(_FILE) if cut else "",
            )


def parse_modules(data: bytes) -> list[dict[str, object]]:
    """/proc/modules as records {"name", "size", "references", "used_by", "state", "address", "taint"}."""
    records: list[dict[str, object]] = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        words = line.split()
        if len(words) < 6 or not words[1].isdigit():
            continue
        records.append(
            {
                "name": words[0], "size": int(words[1]), "references": words[2],
                "used_by": [name for name in words[3].split(",") if name and name != "-"],
                "state": words[4], "address": words[5], "taint": words[6].strip("()") if len(words) > 6 else "",
            }
        )
    return records


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash (fs/proc_namespace.c)."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def parse_mounts(data: bytes) -> list[dict[str, object]]:
    """mountinfo as records, by proc_pid_mountinfo(5)."""
    records: list[dict[str, object]] = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        left, dash, right = line.partition(" - ")
        words = left.split(" ")
        rest = right.split(" ")
        if not dash or len(words) < 6 or len(rest) < 3:
            continue
        records.append(
            {
                "id": words[0], "parent": words[1], "device": words[2], "root": _unescape(words[3]),
                "target": _unescape(words[4]), "options": words[5], "type": rest[0], "source": _unescape(rest[1]),
                "super_options": rest[2],
            }
        )
    return records


def take_modules(bundle: Bundle, context: Context) -> None:
    """Loaded kernel modules, and those that one of the kernel's two lists leaves out."""
    data = read_proc(context.proc + "/modules", _FILE)
    _raw(bundle, context, ("modules",))
    records = parse_modules(data)
    listed = {str(record["name"]) for record in records}
    shown = set()
    try:
        for name in os.listdir(context.path("sys/module")):
            # Only what was loaded has this file; parts built into the kernel have a folder without it.
            if os.path.exists(context.path("sys/module/{0}/initstate".format(name))):
                shown.add(name)
    except OSError:
        shown = listed
    for name in sorted(shown - listed):
        context.note("kernel module missing from /proc/modules", name=name)
    for name in sorted(listed - shown):
        context.note("kernel module missing from /sys/module", name=name)
    bundle.add_jsonl(FOLDER + "modules.jsonl", records, "/proc/modules")
    context.counts["modules"] = len(records)


def take_mounts(bundle: Bundle, context: Context) -> None:
    """Mounts of our mount namespace."""
    _raw(bundle, context, ("self/mountinfo", "self/mounts"))
    records = parse_mounts(read_proc(context.proc + "/self/mountinfo", _FILE))
    bundle.add_jsonl("live_response/storage/mounts.jsonl", records, "/proc/self/mountinfo")
    context.counts["mounts"] = len(records)
    for record in records:
        target = str(record["target"])
        if target.startswith("/proc/") and target[6:].split("/", 1)[0].isdigit():
            context.note("mount hides a process", target=target)


def take_logins(bundle: Bundle, context: Context) -> None:
    """Who is logged in, by utmp and by systemd-logind."""
    path = context.path("run/utmp")
    records: list[dict[str, object]] = []
    try:
        data = read_regular(path, _UTMP)
    except FileNotFoundError:
        data = b""
    except OSError as error:
        bundle.fail("logins", "/run/utmp could not be read: {0}".format(error.strerror))
        data = b""
    if data:
        bundle.add_bytes("[root]/run/utmp", data, "/run/utmp")
        records = parse_utmp(data)
    bundle.add_jsonl(FOLDER + "utmp.jsonl", records, "/run/utmp")
    sessions = read_sessions(context.path("run/systemd/sessions"))
    bundle.add_jsonl(FOLDER + "sessions.jsonl", sessions, "/run/systemd/sessions")
    context.counts["logged_in"] = sum(1 for record in records if record["type"] == "user")
    context.counts["sessions"] = len(sessions)


def take_system(bundle: Bundle, context: Context) -> None:
    """Kernel, boot, clock, taint, the preload file, and our own memory map, where a hooked libc would show."""
    _raw(bundle, context, _KERNEL)
    clock = read_clock(context.root)
    bundle.facts["clock"] = clock
    bundle.add_jsonl(FOLDER + "clock.jsonl", [clock], "adjtimex, /proc/uptime")
    bundle.add_bytes(FOLDER + "own_maps.txt", read_proc(context.proc + "/self/maps", _FILE), "/proc/self/maps")
    preload = context.path("etc/ld.so.preload")
    try:
        data = read_regular(preload, 65536)
    except FileNotFoundError:
        data = b""
    except OSError as error:
        bundle.fail("system", "/etc/ld.so.preload could not be read: {0}".format(error.strerror))
        data = b""
    if data.strip():
        bundle.add_bytes("[root]/etc/ld.so.preload", data, "/etc/ld.so.preload")
        context.note("library preloaded into every program", content=data[:256].decode("utf-8", "surrogateescape"))
    taint = read_proc(context.proc + "/sys/kernel/tainted", 64).strip()
    if taint not in (b"", b"0"):
        context.note("kernel is tainted", value=taint.decode("ascii", "replace"))
