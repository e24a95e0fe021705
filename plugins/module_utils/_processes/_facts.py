# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rule may ask about a process. Fields are worked out when a rule first asks: descriptors are scanned for few."""

from __future__ import annotations

import functools
import os
import re
import socket as _socket

from .._host._files import link, read_proc
from .._host._sockets import descriptors, own_addresses
from ._match import LOWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .._host._processes import Process
    from .._host._sockets import Socket
    from .._isolation._policy import Plan

DELETED = " (deleted)"
# Folders of mode 1777, or a user's own, on every distribution: whoever has any account may put a program there.
WRITABLE = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/run/user/", "/run/lock/", "/var/lock/", "/dev/mqueue/")
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/")
SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "csh", "tcsh", "fish", "busybox", "rbash"))
_INTERPRETERS = SHELLS | frozenset(
    ("python", "pypy", "perl", "ruby", "php", "node", "nodejs", "lua", "luajit", "tclsh", "expect", "gawk", "mawk", "awk", "ld-linux",
     "ld-musl", "ld")
)
_AWK = frozenset(("gawk", "mawk", "awk"))
# How an option begins after which an interpreter takes code, a module or its input, not a file. Everybody may write what he likes
# into his arguments: a path that is no script must not be taken for one, for what names it is kin and is kept from starting.
_CODE = {name: pattern for names, pattern in (
    (SHELLS, r"-[A-Za-z]*[cs]|--command"), (("python", "pypy"), r"-[bBdEhiIOPqsSuvVx]*[cm]"), (("perl",), r"-[acflnpsStTuUwWX0-9]*[eE]"),
    (("ruby",), r"-[aclnpsSvwd0-9]*e"), (("php",), r"-[nq]*[rRBE]|--(run|process-begin|process-code|process-end)?$"),
    (("node", "nodejs"), r"-[pi]*[ep]|--(eval|print)"), (("lua", "luajit"), r"-[iEvW]*e"), (("expect",), r"-[bdDinN]*c"),
) for name in names}
# Options whose value is the next argument.
_VALUED = {name: frozenset(options) for names, options in (
    (SHELLS, ("--rcfile", "--init-file")), (("python", "pypy"), ("-W", "-X", "--check-hash-based-pycs")), (("perl",), ("-I",)),
    (("ruby",), ("-r", "-I", "-C", "-E")), (("php",), ("-c", "-d", "-t", "-z")), (("node", "nodejs"), ("-r", "--require", "--import")),
    (("lua", "luajit"), ("-l",)), (("ld-linux", "ld-musl", "ld"), ("--library-path", "--preload", "--argv0", "--audit", "--inhibit-rpath")),
) for name in names}
# What kernel threads are called (ps shows them in brackets); the first argument of no ordinary program looks so.
_BRACKETS = re.compile(r"\[[A-Za-z0-9_/:.@+\-]{2,}\]")
_THREADS = re.compile(
    r"(kworker/|ksoftirqd/|migration/|cpuhp/|idle_inject/|rcu_|kthreadd$|kswapd\d|kdevtmpfs$|khugepaged$|kcompactd\d|kauditd$|"
    r"jbd2/|scsi_eh_|irq/\d|watchdogd$|oom_reaper$|kblockd$|ext4-rsv-con)"
)
_VERSION = re.compile(r"[-0-9.]+(so\.\d+|dm)?$")
_ESTABLISHED = frozenset(("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "SYN_SENT", "LAST_ACK"))
_UNSPECIFIED = ("0.0.0.0", "::")


def image_of(process: Process) -> str:
    """The executable's path without the kernel's mark; "" for kernel threads and zombies."""
    exe = process.exe or ""
    return exe[: -len(DELETED)] if exe.endswith(DELETED) else exe


@functools.lru_cache(1024)
def basename_of(path: str) -> str:
    """The last component without a version: python3.11 is python, ld-linux-x86-64.so.2 is ld-linux."""
    name = path.rpartition("/")[2]
    if name.startswith(("ld-linux", "ld-musl")):
        return name[:8]
    return _VERSION.sub("", name) or name


def writable(path: str) -> bool:
    """Whether the path lies where anyone may write."""
    return path.startswith(WRITABLE)


def system(path: str) -> bool:
    """Whether the path lies where packages put their programs; /usr/local is the administrator's own."""
    return path.startswith(_SYSTEM) and not path.startswith("/usr/local/")


def script_of(process: Process) -> str:
    """The file that an interpreter says it runs, absolute; "" where it runs code from its command line or its input.

    Only what the arguments say, which the process itself has written: `Finding.paths` looks whether the file can be its own.
    """
    base = basename_of(image_of(process))
    if base not in _INTERPRETERS:
        return ""
    shell = base in SHELLS
    code = _CODE.get(base)
    valued = _VALUED.get(base, frozenset())
    arguments = process.argv[1:64]
    if base in _AWK:  # the first operand is the program itself
        arguments = arguments[arguments.index("-f") + 1:] if "-f" in arguments else []
    skip = options_end = False
    for argument in arguments:
        if skip:
            skip = False
        elif not argument or (argument == "-" and not shell):
            return ""  # no file, and the standard input; what follows are the program's own arguments
        elif argument[0] in "-+" and not options_end:
            if code is not None and re.match(code, argument):
                return ""
            # To a shell a single hyphen is what two are to others.
            options_end = argument in ("-", "--")
            skip = argument in valued or (shell and argument[1:2] != "-" and argument[-1] in "oO")
        elif base == "busybox" and "/" not in argument and argument in SHELLS:
            continue
        else:
            return argument if argument.startswith("/") else os.path.normpath(os.path.join(process.cwd or "/", argument))
    return ""


def outside(address: str) -> bool:
    """Whether an address lies outside of every private network.

    Not for this: loopback, link-local, multicast, RFC 1918, RFC 6598, unique local IPv6. Documentation networks count as
    outside: nobody uses them for his own.
    """
    if ":" in address:
        first = _socket.inet_pton(_socket.AF_INET6, address)
        return not (first[0] in (0xFF, 0xFC, 0xFD) or (first[0] == 0xFE and first[1] >= 0x80) or first[:15] == bytes(15))
    a, b = _socket.inet_aton(address)[:2]
    return not (
        a in (0, 10, 127) or a >= 224 or (a, b) in ((192, 168), (169, 254)) or (a == 172 and 16 <= b < 32) or (a == 100 and 64 <= b < 128)
    )


def _looks_like_thread(process: Process) -> bool:
    argv0 = process.argv[0] if process.argv else ""
    if process.kernel_thread or not process.alive or not (process.exe or argv0):
        return False
    return _BRACKETS.fullmatch(argv0) is not None or _THREADS.match(process.name) is not None


def _is_deleted(process: Process) -> bool:
    """A file without a name. The mark alone is not enough: a file may be called "x (deleted)", and renaming leaves none."""
    exe = process.exe or ""
    if not exe.endswith(DELETED):
        return False
    try:
        return os.stat(process.folder + "/exe").st_nlink == 0
    except OSError:
        return True


class World:
    """What the facts of all processes are worked out from: the table, the sockets, the plan of the isolation if there is one."""

    def __init__(
        self, processes: dict[int, Process], sockets: Iterable[Socket] = (), plan: Plan | None = None, root: str = "/proc",
    ) -> None:
        self.processes = processes
        self.root = root
        self.plan = plan
        self.sockets: dict[int, Socket] = {socket.inode: socket for socket in sockets if socket.inode}
        self.packet_inodes = {inode for inode, socket in self.sockets.items() if socket.protocol == "raw"}
        self._held: dict[int, list[int]] = {}
        self._own: set[str] | None = None

    @property
    def own(self) -> set[str]:
        """The host's own addresses."""
        if self._own is None:
            self._own = own_addresses(self.root)
        return self._own

    def forget(self, pid: int) -> None:
        """Scan the descriptors of a process anew when they are next asked for."""
        self._held.pop(pid, None)

    def held(self, process: Process) -> list[int]:
        """Inodes of the sockets that a process holds, scanned once."""
        found = self._held.get(process.pid)
        if found is None:
            found = self._held[process.pid] = descriptors(process.folder)
        return found

    def known(self, inodes: Mapping[int, list[int]]) -> None:
        """Take over a scan of descriptors that somebody has made: socket inode -> pids."""
        self._held = {pid: [] for pid, process in self.processes.items() if not process.leader_exited}
        for inode, pids in inodes.items():
            for pid in pids:
                self._held.setdefault(pid, []).append(inode)

    def peers(self, process: Process) -> list[Socket]:
        """The connected sockets of a process whose peer is not this host."""
        found = [self.sockets[inode] for inode in self.held(process) if inode in self.sockets]
        return [one for one in found if one.state in _ESTABLISHED and not self._local(one)]

    def _local(self, socket: Socket) -> bool:
        address = socket.remote_address
        return address in self.own or address.startswith("127.") or address in ("::1", *_UNSPECIFIED)

    def outside_peer(self, process: Process) -> bool:
        """Whether one of its peers is outside, and not what the plan lets through."""
        return any(
            outside(one.remote_address) and not (self.plan is not None and self.plan.allows(one)) for one in self.peers(process))

    def network_socket(self, process: Process) -> bool:
        """Whether it talks, or could talk by sockets without a fixed peer, with somebody else than this host."""
        if self.peers(process):
            return True
        free = [self.sockets[inode] for inode in self.held(process) if inode in self.sockets]
        return any(
            one.protocol != "tcp" and not one.local_address.startswith("127.") and one.local_address != "::1" for one in free)

    def connected(self, text: str | None) -> bool:
        """Whether a descriptor's link names an inet socket that is connected."""
        if text is None or not text.startswith("socket:[") or not text[8:-1].isdigit():
            return False
        socket = self.sockets.get(int(text[8:-1]))
        return socket is not None and socket.state in _ESTABLISHED


def _shell_without_tty(process: Process) -> bool:
    if basename_of(image_of(process)) not in SHELLS or process.tty:
        return False
    if any(text is not None and text.startswith(("/dev/pts/", "/dev/tty")) for text in process.stdio):
        return False
    for argument in process.argv[1:16]:
        if argument[:1] != "-":
            return False  # a script
        if argument[1:2] != "-" and "c" in argument:
            return False
        if argument[1:2] != "-" and "i" in argument:
            return True
    return (process.stdio[0] or "").startswith("socket:[")


def _tracer(process: Process, world: World) -> str:
    status = read_proc(process.folder + "/status", 4096)
    at = status.find(b"\nTracerPid:")
    pid = status[at + 11:status.find(b"\n", at + 1)].strip() if at >= 0 else b"0"
    if not pid.isdigit() or pid == b"0":
        return ""
    other = world.processes.get(int(pid))
    image = image_of(other) if other is not None else link("{0}/{1}/exe".format(world.root, int(pid)))
    # A debugger is one that lies where packages put it; of any other program the whole path is told.
    return (basename_of(image) if system(image) else image) if image else "unknown"


def _preload(process: Process, _world: World) -> bool:
    return any(item.startswith(("LD_PRELOAD=", "LD_AUDIT=")) and not item.endswith("=") for item in process.environ)


def _parent_image(process: Process, world: World) -> str:
    parent = world.processes.get(process.ppid)
    return image_of(parent) if parent is not None else ""


def _parent_command_line(process: Process, world: World) -> str:
    parent = world.processes.get(process.ppid)
    return " ".join(parent.argv) if parent is not None else ""


_LAZY: dict[str, Callable[[Process, World], object]] = {
    "Argv0": lambda process, world: process.argv[0] if process.argv else "",
    "ParentImage": _parent_image,
    "ParentBasename": lambda process, world: basename_of(_parent_image(process, world)),
    "ParentCommandLine": _parent_command_line,
    "CurrentDirectory": lambda process, world: process.cwd or "",
    "script_writable": lambda process, world: writable(script_of(process)),
    "outside_peer": lambda process, world: world.outside_peer(process),
    "network_socket": lambda process, world: world.network_socket(process),
    "packet_socket": lambda process, world: bool(world.packet_inodes) and not world.packet_inodes.isdisjoint(world.held(process)),
    "preload": _preload,
    "tracer": _tracer,
}


# Fields that hold text; the others hold true or false.
_TEXT = frozenset(
    ("Image", "Basename", "CommandLine", "CurrentDirectory", "Argv0", "Name", "ParentImage", "ParentBasename", "ParentCommandLine", "tracer")
)

# Fields that are filled from the start and are true or false: what a rule set may sort its rules by.
CHEAP = frozenset(
    ("memfd", "deleted", "leader_exited", "writable_path", "bracketed", "renamed", "stdin_socket", "stdio_socket", "shell_without_tty", "interpreter")
)

if TYPE_CHECKING:
    _Fields = dict[str, object]
else:
    _Fields = dict


class Facts(_Fields):
    """Field -> value, see `_match.FIELDS`; of a sample, which has no process, what is not given is empty or false."""

    __slots__ = ("process", "world")

    process: Process | None
    world: World | None

    def __init__(self, fields: Mapping[str, object], process: Process | None = None, world: World | None = None) -> None:
        super().__init__(fields)
        self.process = process
        self.world = world

    def __missing__(self, field: str) -> object:
        if field.startswith(LOWER):
            text = str(self[field[len(LOWER):]]).lower()
            self[field] = text
            return text
        work = _LAZY.get(field)
        if self.process is None or self.world is None or work is None:
            value: object = "" if field in _TEXT else False
        else:
            value = work(self.process, self.world)
        self[field] = value
        return value


def facts_of(process: Process, world: World) -> Facts:
    """The facts of one process; what costs more than the table holds is worked out when a rule asks."""
    image = image_of(process)
    base = basename_of(image)
    argv = process.argv
    stdio = process.stdio
    memfd = image.startswith("/memfd:")
    line = " ".join(argv)
    two = stdio[0] is not None and stdio[0] == stdio[1] and world.connected(stdio[0])
    return Facts(
        {
            "Image": image, "Basename": base, "CommandLine": line, "Name": process.name,
            # What rules ask of every process, here already: half the time of a look.
            LOWER + "Image": image.lower(), LOWER + "Basename": base.lower(), LOWER + "CommandLine": line.lower(),
            "uid": process.uid, "memfd": memfd, "deleted": not memfd and _is_deleted(process), "writable_path": writable(image),
            "system_path": system(image), "interpreter": base in _INTERPRETERS, "bracketed": _looks_like_thread(process),
            "renamed": bool(image) and not memfd and not image.rpartition("/")[2].startswith(process.name),
            "leader_exited": process.leader_exited, "stdin_socket": two, "stdio_socket": two and stdio[0] == stdio[2],
            "shell_without_tty": _shell_without_tty(process),
        },
        process, world,
    )
