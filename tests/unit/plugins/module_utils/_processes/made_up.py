# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A made-up host, for tests of who is a suspect and what may be done about him."""

from __future__ import annotations

import os

from ansible_collections.firebreak.response.plugins.module_utils._host._processes import Process
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import Socket
from ansible_collections.firebreak.response.plugins.module_utils._processes import _decide as decide
from ansible_collections.firebreak.response.plugins.module_utils._processes import _facts as facts
from ansible_collections.firebreak.response.plugins.module_utils._processes._suspects import Suspects

# Whose number no account of the machine that runs the tests has.
OWNER = 4242
RESPONDER = 900


class Host:
    """A made-up host: /proc as a folder, and the table that would be read from it."""

    def __init__(self, root):
        self.root = root
        self.processes = {}
        self.sockets = []
        self.next = 100
        os.makedirs(str(root / "self" / "ns"))
        os.symlink("mnt:[1]", str(root / "self" / "ns" / "mnt"))
        self.add("/usr/lib/systemd/systemd", ["/sbin/init"], pid=1, ppid=0)
        self.add("/usr/sbin/sshd", ["sshd: /usr/sbin/sshd -D"], pid=800, ppid=1)
        self.add("/usr/sbin/sshd", ["sshd: admin [priv]"], pid=810, ppid=800)
        self.add("/usr/bin/sudo", ["sudo", "-H", "python3"], pid=820, ppid=810)
        self.add("/usr/bin/python3.11", ["python3", "/tmp/ansible-tmp-1/AnsiballZ.py"], pid=RESPONDER, ppid=820)

    def add(self, exe, argv, ppid=1, pid=0, name=None, tty=0, sid=0, stdio=("/dev/null",) * 3, flags=0, environ=b"", fds=(), cgroup=b"", state="S", uid=0):
        self.next += 1
        one = Process()
        one.root, one.pid, one.ppid = str(self.root), pid or self.next, ppid
        one.start, one.sid, one.tty, one.flags, one.state = self.next, sid or one.pid, tty, flags, state
        one.exe, one.argv, one.uid, one.stdio = exe, argv, uid, stdio
        one.name = name if name is not None else facts.image_of(one).rpartition("/")[2][:15]
        one._cwd, one._environ = "/", None
        folder = self.root / str(one.pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "ns").mkdir()
        os.symlink("mnt:[1]", str(folder / "ns" / "mnt"))
        (folder / "environ").write_bytes(environ)
        (folder / "cgroup").write_bytes(cgroup)
        (folder / "status").write_bytes(b"Name:\tx\nTracerPid:\t0\n")
        for number, inode in enumerate(fds):
            os.symlink("socket:[{0}]".format(inode), str(folder / "fd" / str(number + 3)))
        self.processes[one.pid] = one
        return one.pid

    def socket(self, remote="203.0.113.5", protocol="tcp", family=4, state="ESTABLISHED"):
        inode = 1000 + len(self.sockets)
        self.sockets.append(Socket(protocol, family, "10.0.0.7" if family == 4 else "fd00::7", 5555, remote, 443, state, 0, inode))
        return inode

    def suspects(self, autonomy="terminate", **options):
        found = Suspects(self.processes, self.sockets, root=str(self.root), own_pid=RESPONDER, **options)
        found.find()
        found.decide(autonomy)
        return {one.process.pid: one for one in found.findings}

    def shell(self, **more):
        end = "socket:[{0}]".format(self.socket())
        return self.add("/usr/bin/bash", ["bash", "-i"], stdio=(end, end, end), **more)


def mine(host, tmp_path, exe, argv, uid):
    """A finding about a process that sees the host as we do."""
    pid = host.add(exe, argv, uid=uid)
    os.symlink("/", str(tmp_path / str(pid) / "root"))
    process = host.processes[pid]
    return decide.Finding(process, facts.facts_of(process, facts.World(host.processes, root=str(host.root))), [])
