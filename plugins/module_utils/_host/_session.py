# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The responder's own way in: the connection that carries this very run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Mapping, NamedTuple

from .._errors import HostError
from ._processes import ancestors
from ._sockets import descriptors

if TYPE_CHECKING:
    from ._processes import Process
    from ._sockets import Socket

# comm of the processes that hold a login's connection; OpenSSH 9.8 split sshd-session off.
_SERVERS = ("sshd", "sshd-session", "sshd-auth", "dropbear")


class Session(NamedTuple):
    """The connection under this run. source: "sshd-socket", "SSH_CONNECTION" or "none" (ports 0, addresses empty).

    pids: this process and its ancestors, nearest first.
    """

    peer_address: str
    peer_port: int
    server_address: str
    server_port: int
    source: str
    pids: list[int]


def parse_ssh_connection(text: str) -> tuple[str, int, str, int] | None:
    """Peer address and port, server address and port, from what sshd(1) sets; None where it is none of that form."""
    fields = text.split()
    if len(fields) != 4 or not (fields[1].isdigit() and fields[3].isdigit()):
        return None
    return _plain(fields[0]), int(fields[1]), _plain(fields[2]), int(fields[3])


def _plain(address: str) -> str:
    """The address without its zone, an IPv4-mapped one as IPv4."""
    address = address.partition("%")[0]
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def management_session(
    processes: Mapping[int, Process], sockets: list[Socket], environ: Mapping[str, str] | None = None,
    root: str = "/proc", pid: int | None = None,
) -> Session:
    """The session of this run. The socket of the nearest ancestor sshd is the truth, since become strips the environment.

    Raises HostError where that sshd holds several connections that could be it, or where SSH_CONNECTION names
    another one: a management path that is guessed would be a hole or a lock-out.
    """
    chain = ancestors(processes, os.getpid() if pid is None else pid)
    said = parse_ssh_connection((os.environ if environ is None else environ).get("SSH_CONNECTION", ""))
    live = [socket for socket in sockets if socket.protocol == "tcp" and socket.state == "ESTABLISHED"]
    listening = {socket.local_port for socket in sockets if socket.protocol == "tcp" and socket.state == "LISTEN"}
    for ancestor in chain[1:]:
        process = processes.get(ancestor)
        if process is None or process.name not in _SERVERS:
            continue
        held = set(descriptors("{0}/{1}".format(root, ancestor)))
        mine = [socket for socket in live if socket.inode in held]
        # What is forwarded through the session leaves from another port; a socket-activated sshd has no listener.
        mine = [socket for socket in mine if socket.local_port in listening] or mine
        if not mine:
            continue
        if said is not None:
            mine = [socket for socket in mine if _tuple(socket) == said]
            if not mine:
                raise HostError(
                    "management path: SSH_CONNECTION names another connection than the one that sshd holds; "
                    "nothing was changed. Connect afresh and run again"
                )
        if len(mine) > 1:
            raise HostError(
                "management path: sshd holds {0} connections that could carry this run; nothing was changed. "
                "Connect without port forwarding and run again".format(len(mine))
            )
        return Session(*_tuple(mine[0]), source="sshd-socket", pids=chain)
    if said is not None and any(_tuple(socket) == said for socket in live):
        return Session(*said, source="SSH_CONNECTION", pids=chain)
    return Session("", 0, "", 0, "none", chain)


def _tuple(socket: Socket) -> tuple[str, int, str, int]:
    return socket.remote_address, socket.remote_port, socket.local_address, socket.local_port
