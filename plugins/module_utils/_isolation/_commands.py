# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the host's own firewall programs, in its network or in a private one that is gone afterwards."""

from __future__ import annotations

import errno
import os
import socket as _socket
import struct
from typing import TYPE_CHECKING, Callable

from .._errors import HostError
from .._host._child import Child, leave_network
from .._host._netstate import ask
from .._host._workdir import possible

if TYPE_CHECKING:
    import subprocess

_FOLDERS = ("usr/sbin", "sbin", "usr/bin", "bin", "usr/local/sbin")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_SECONDS = 20.0
# Of what a program of the host says, so much is repeated.
SAID = 300
_NETFILTER = 12  # NETLINK_NETFILTER of linux/netlink.h
TABLE = "firebreak"  # the name of all tables of ours
HELD = "firebreak_held"  # and of their copies that belong to whoever holds an isolation
UNIT_PLACES = ("etc/systemd/system", "run/systemd/system")  # systemd.unit(5); what is in the first one outlives a reboot
NO_SYSTEMD = "the host is not run by systemd"
_UNIT = ("firebreak-hold-", ".service")
INET, IPV4, NETDEV, IPV6 = 1, 2, 5, 10  # NFPROTO_* of linux/netfilter.h


def find(name: str, root: str = "/") -> str | None:
    """The absolute path of a program, or None. PATH is not asked: it may be the attacker's."""
    for folder in _FOLDERS:
        path = os.path.join(root, folder, name)
        if os.access(path, os.X_OK):
            return path
    return None


def unit_name(case: str) -> str:
    """The unit that holds the isolation of a case."""
    return case.join(_UNIT)


def end_units(case: str) -> tuple[str, str]:
    """The service that ends the isolation of a case by itself, and its timer."""
    return "firebreak-end-{0}.service".format(case), "firebreak-end-{0}.timer".format(case)


def ends(case: str, root: str = "/") -> bool:
    """Whether the isolation of a case has a timer that ends it."""
    return any(os.path.lexists(os.path.join(root, folder, name)) for folder in UNIT_PLACES for name in end_units(case))


def held_for(root: str = "/") -> list[str]:
    """The cases whose isolation a unit of ours holds on this host."""
    found: set[str] = set()
    for folder in UNIT_PLACES:
        try:
            names = os.listdir(os.path.join(root, folder))
        except OSError:
            continue
        found.update(name[len(_UNIT[0]):-len(_UNIT[1])] for name in names if name.startswith(_UNIT[0]) and name.endswith(_UNIT[1]))
    return sorted(case for case in found if possible(case))


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """A program that waits for its input. Raises HostError where it cannot start."""
    import subprocess

    try:
        # Without close_fds (none of ours are inheritable) and a folder, Python takes posix_spawn, three times as fast.
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT, close_fds=False)
    except OSError as error:
        raise HostError("{0} cannot be run: {1}".format(argv[0], error.strerror)) from error


def run(argv: list[str], text: str = "", waiting: subprocess.Popen[bytes] | None = None) -> tuple[int, str, str]:
    """Exit status, output and error output of a program. Raises HostError where it cannot start or never ends.

    `waiting`: the same program, started before.
    """
    import subprocess

    program = waiting if waiting is not None else start(argv)
    try:
        output, error = program.communicate(text.encode("ascii"), _SECONDS)
    except subprocess.TimeoutExpired as late:
        program.kill()
        program.communicate()
        raise HostError("{0} did not end within {1:.0f} s".format(argv[0], _SECONDS)) from late
    return program.returncode, output.decode("utf-8", "replace"), error.decode("utf-8", "replace")


def listing(nft: str, family: str) -> str:
    """What nft lists of our table in a family; "" where it refuses. One table a call: of two families nft 1.0 shows neither."""
    status, text, _error = run([nft, "-n", "-s", "list", "table", family, TABLE])
    return text if status == 0 else ""


class Trial(Child):
    """A function at work in a child with a network of its own; None also where the kernel refuses one."""

    def __init__(self, function: Callable[[], str | None]) -> None:
        super().__init__(lambda: function() if leave_network() else None)


def legacy_tables(family: int) -> list[str]:
    """Names of the tables that iptables-legacy has in this network; a question to the program itself would make what it asks for."""
    try:
        with open("/proc/net/{0}_tables_names".format("ip6" if family == 6 else "ip"), encoding="ascii", errors="replace") as names:
            return sorted(names.read().split())
    except OSError:
        return []


def shared() -> bool:
    """Whether anybody but us may have rules in this network; asked without starting a program, and rather too often answered yes."""
    if legacy_tables(4) or legacy_tables(6):
        return True
    ours = (TABLE.encode("ascii"), HELD.encode("ascii"))
    try:  # NFT_MSG_GETTABLE; NFTA_TABLE_NAME comes first in an answer
        return any(body[8:].split(b"\0", 1)[0] not in ours for body in ask(_NETFILTER, (10 << 8) | 1, bytes(4)))
    except OSError:
        return True


def table_exists(family: int, name: str = TABLE) -> bool | None:
    """Whether the kernel holds a table of ours of a family, by its number; None where it knows no nftables."""
    return _exists(1, family, ((1, name),))  # NFT_MSG_GETTABLE, NFTA_TABLE_NAME


def chain_exists(family: int, table: str, name: str) -> bool:
    """Whether a table of the kernel's nftables has a chain, whoever made either."""
    return _exists(4, family, ((1, table), (3, name))) is True  # NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME


def _exists(message: int, family: int, names: tuple[tuple[int, str], ...]) -> bool | None:
    """Ask for one thing of linux/netfilter/nf_tables.h by the attributes that name it, without starting a program."""
    body = struct.pack("=BBH", family, 0, 0)
    for kind, name in names:
        attribute = name.encode("ascii") + b"\x00"
        body += struct.pack("=HH", 4 + len(attribute), kind) + attribute + b"\x00" * (-len(attribute) % 4)
    request = struct.pack("=IHHII", 16 + len(body), (10 << 8) | message, 1, 1, 0) + body
    try:
        with _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETFILTER) as channel:
            channel.settimeout(_SECONDS)
            channel.send(request)
            data = channel.recv(65536)
    except OSError:
        return None
    if len(data) < 20:
        return None
    kind, code = struct.unpack_from("=H", data, 4)[0], struct.unpack_from("=i", data, 16)[0]
    if kind != 2:  # NLMSG_ERROR
        return True
    return False if code == -errno.ENOENT else None
