# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: a second one beside the first, ended in the middle, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc

NAME = "fbtest"
COMMAND = [sys.executable, "-m", "tests.lab"]
ENVIRONMENT = {**os.environ, "FIREBREAK_LAB_NAME": NAME}


def traces() -> list[str]:
    """What there is of the second lab on this machine."""
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True, timeout=20).stdout.split()
    found = [name for name in spaces if name.startswith(NAME + "-")]
    found += [str(path) for path in Path("/sys/fs/cgroup").rglob(f"firebreak-lab-{NAME}-*")]
    found += [str(path) for path in [Path("/run/firebreak-lab") / NAME] if path.exists()]
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"={NAME}-".encode() in line.read_bytes() or f"/firebreak-lab/{NAME}/".encode() in line.read_bytes():
                found.append(str(line))
        except OSError:
            continue
    return found + [line for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines() if f"/{NAME}" in line]


def second(*words: str) -> subprocess.CompletedProcess[str]:
    """The second lab's command line."""
    return subprocess.run([*COMMAND, *words], env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=120)


def test_a_second_lab_comes_after_a_crash_is_another_and_leaves_nothing(lab):
    assert traces() == []
    crashed = subprocess.Popen([*COMMAND, "up"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with crashed:
        time.sleep(1)
        crashed.send_signal(signal.SIGKILL)
    try:
        second("up")
        second("exec", "deb12", "--", "touch", "/var/tmp/second")
        assert hosts.execute("deb12", ["ls", "/var/tmp/second"], check=False).returncode != 0
        second("fleet", "up", "-n", "2", "--processes", "5")
        assert second("exec", "light002", "--", "ip", "-4", "-o", "address", "show", "host0").stdout.split()[3] == "10.66.0.131/24"
        # The first lab is what Ansible reaches on the same addresses.
        assert adhoc("deb12", "ansible.builtin.command", "ls /var/tmp/second").of("deb12")["rc"] != 0
    finally:
        second("down")
    assert traces() == []


def test_firewall_managers_are_there_and_at_rest(lab):
    managers = {"deb13": ["firewall-cmd", "netfilter-persistent"], "deb12": ["firewall-cmd", "ufw"], "deb11": ["netfilter-persistent"]}
    assert list(managers) == list(hosts.HOSTS)
    for host, programs in managers.items():
        hosts.execute(host, ["which", "nft", "iptables-nft", "iptables-legacy", "conntrack", "ipset", *programs])
        enabled = hosts.execute(host, ["systemctl", "list-unit-files", "--state=enabled", "--no-legend"]).stdout
        assert "ssh.service" in enabled
        assert not [unit for unit in ("nftables", "firewalld", "ufw", "netfilter-persistent") if f"{unit}.service" in enabled], host


def test_guessed_passwords_stand_in_the_log_of_the_host(lab):
    host = "deb12"
    before = hosts.execute(host, ["sh", "-c", "grep -c 'Failed password' /var/log/auth.log || true"]).stdout
    intruders.brute_force(host)
    lines = hosts.execute(host, ["grep", "Failed password", "/var/log/auth.log"]).stdout.splitlines()[int(before):]
    assert len(lines) >= 10, "five users, up to three passwords each"
    assert all(f"from {network.SCANNER} port" in line for line in lines)
    assert any("invalid user oracle" in line for line in lines) and any("for root from" in line for line in lines)


def test_an_intruder_that_is_planted_twice_is_there_once(host):
    for _time in range(2):
        for name in intruders.NAMES:
            intruders.plant(host, name)
    there = hosts.execute(host, ["ps", "-ww", "axo", "args"]).stdout.splitlines()
    for word in ("bash -i", "dbus-run /dev/shm", "gvfsd /dev/shm", "xmrig /tmp", "[kworker/0:1] 86400", "/var/tmp/.x/m.py"):
        assert len([line for line in there if line.startswith(word) or word in line and word.startswith("/")]) == 1, (word, there)
