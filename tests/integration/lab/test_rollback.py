# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback matrix: wrong policy, broken logins, killed modules and controllers; nobody is locked out, and no attacker let out.

`./dev matrix rollback` runs it. Each case ends in one of two ways: the host is as it was before, or it is isolated and said so;
in both the responder gets in, unless somebody on the host keeps him out.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc, command, environment, kill_all, login

from . import matrix
from .conftest import clean

WITHIN = 6
GRACE = 5.0  # seconds over `confirm_within` that the host may take
RULES = "nft -s list ruleset; iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'"
# Waits for the module's process, then for a moment of its life, and kills it: "SECONDS" after its start, or "EVENT+SECONDS". Events: the way
# back is armed; a suspect is stopped; the attacker is out of reach.
KILLER = """
import glob, json, os, signal, socket, sys, time
case, event, seconds, attacker = sys.argv[1:]
speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def modules():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try: line = open(path, "rb").read()
        except OSError: continue
        if line.startswith(b"/usr/bin/python3\\0") and b"AnsiballZ" in line or line == b"/usr/bin/python3\\0": yield int(path.split("/")[2])
def frozen():
    try: state = json.load(open("/var/lib/firebreak/%s/state.json" % case))
    except (OSError, ValueError): return False
    return bool(state.get("frozen"))
def armed(): return bool(glob.glob("/var/lib/firebreak/%s/armed-*" % case))
def cut():
    try: speaker.sendto(b"still here", (attacker, 9))
    except OSError: return True
events = {"frozen": frozen, "armed": armed, "cut": cut}
end = time.monotonic() + 20
while time.monotonic() < end:
    found = list(modules())
    if found:
        while event and not events[event]() and time.monotonic() < end: time.sleep(0.001)
        time.sleep(float(seconds))
        for pid in found:
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        sys.exit(0)
    time.sleep(0.005)
sys.exit(3)
"""
# Kills the SSH sessions, or sshd with all its sessions, as soon as the rules of an isolation are there.
SABOTEUR = """
import glob, os, signal, subprocess, sys, time
victim = sys.argv[1]
end = time.monotonic() + 20
while b"FIREBREAK" not in subprocess.run(["iptables-save"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout and \\
        subprocess.run(["nft", "list", "table", "inet", "firebreak"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
    if time.monotonic() > end: sys.exit(3)
if victim == "listener": subprocess.run(["systemctl", "mask", "--runtime", "--now", "ssh.service", "ssh.socket"], stderr=subprocess.DEVNULL)
for path in glob.glob("/proc/[0-9]*/comm"):
    try:
        if open(path).read().startswith("sshd") and int(path.split("/")[2]) != main: os.kill(int(path.split("/")[2]), signal.SIGKILL)
    except (OSError, ValueError): pass
""".replace("victim = sys.argv[1]", "victim = sys.argv[1]\nmain = int(subprocess.run(['systemctl', 'show', '-p', 'MainPID', '--value', 'ssh'], "
                                    "stdout=subprocess.PIPE).stdout or 0)")
MOMENTS = ("0.0", "0.1", "0.2", "0.3", "armed+0", "frozen+0", "cut+0", "cut+0.01", "cut+0.05", "cut+0.2")
CONTROLLER_MOMENTS = (0.6, 0.9, 1.2, 1.5, 1.9)


@pytest.fixture(params=matrix.cells()[:1] if len(matrix.cells()) == 2 else matrix.cells(), ids="-".join)
def cell(request, lab):
    """(release, backend), with a suspect that is stopped, and ended, by a containment."""
    host = request.param[0]
    clean(host)
    yield request.param
    hosts.execute(host, ["sh", "-c", "systemctl unmask --runtime ssh.service ssh.socket; systemctl start ssh"], check=False)
    clean(host)


def rules(host: str) -> str:
    """Everybody's rules, without counters."""
    return hosts.execute(host, ["sh", "-c", RULES], check=False).stdout


def way_in(host: str) -> bool:
    """Whether the responder can log in."""
    return login(host)


def isolated(host: str) -> bool:
    """Whether the attacker's server is out of reach."""
    return not hosts.answers(host, network.C2, 8443, 0.5)


def stopped(host: str) -> bool:
    """Whether a process of the host is stopped."""
    return "T" in hosts.execute(host, ["ps", "-eo", "stat="]).stdout


@contextlib.contextmanager
def on_host(host: str, script: str, *arguments: str):
    """A program of the attacker's, at work meanwhile."""
    argv = ["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", script, *arguments]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


class Access:
    """Tries the way in all the time, from now on; `longest` is the longest time for which there was none."""

    def __init__(self, host: str) -> None:
        self.longest = 0.0
        self._host = host
        self._ended = threading.Event()
        self._good = time.monotonic()
        self._thread = threading.Thread(target=self._try)
        self._thread.start()

    def _try(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            if way_in(self._host):
                self.longest = max(self.longest, began - self._good)
                self._good = began
            self._ended.wait(0.3)

    def settle(self) -> None:
        """Wait until the host must have decided and the way in is open, or has been shut for too long."""
        began = time.monotonic()
        while time.monotonic() - began < WITHIN + GRACE or time.monotonic() - self._good > 2:
            if time.monotonic() - self._good > WITHIN + GRACE + 10:
                break
            time.sleep(0.2)

    def close(self) -> None:
        """Try no more."""
        self._ended.set()
        self._thread.join()
        self.longest = max(self.longest, time.monotonic() - self._good if time.monotonic() - self._good > 5 else 0.0)


def outcome(host: str, before: str) -> tuple[str, bool]:
    """How it ended ("as before", "isolated" or "neither"), and whether something is still stopped."""
    return "as before" if rules(host) == before else "isolated" if isolated(host) else "neither", stopped(host)


def row(case: str, cell: tuple[str, str], expected: str, got: str, holds: bool, shut: float) -> dict[str, object]:
    """One line of the matrix; `shut`: the longest time without a way in, in seconds."""
    return {"case": case, "release": cell[0], "backend": cell[1], "expected": expected,
            "got": f"{got}, no way in for {shut:.1f} s at most", "holds": holds, "no_way_in": round(shut, 1)}


def asked(host: str, arguments: str, sabotage: str = "") -> tuple[dict, float]:
    """The result of an isolation, with somebody at work against sshd meanwhile, and the longest time without a way in."""
    with contextlib.ExitStack() as stack:
        access = stack.enter_context(contextlib.closing(Access(host)))
        if sabotage:
            stack.enter_context(on_host(host, SABOTEUR, sabotage))
        result = adhoc(host, "isolation", f"{arguments} confirm_within={WITHIN}").of(host)
    return result, access.longest


def test_wrong_policy_and_broken_logins(cell):
    host, backend = cell
    before = rules(host)
    rows = []
    wrong = f"backend={backend} management=192.0.2.77"

    result, shut = asked(host, f"case=WIDE {wrong}")
    good = result["verdict"] == "partial" and result["proof"]["confirmed"] is True and isolated(host) and way_in(host)
    rows.append(row("wrong management list", cell, "isolated, confirmed over a wider way in, said", str(result["verdict"]),
                    good and WITHIN - 1 < shut <= WITHIN + GRACE, shut))
    assert adhoc(host, "isolation", "case=WIDE state=released").of(host)["verdict"] == "released"

    result, shut = asked(host, f"case=BACK {wrong} on_management_lost=release")
    good = (result["verdict"], result.get("rolled_back")) == ("failed", True) and rules(host) == before and way_in(host)
    rows.append(row("wrong management list, release", cell, "as before, said", str(result["verdict"]),
                    good and WITHIN - 1 < shut <= WITHIN + GRACE, shut))

    result, shut = asked(host, f"case=SESSION backend={backend}", "sessions")
    good = result["verdict"] in ("partial", "contained") and result["proof"]["confirmed"] is True and isolated(host) and way_in(host)
    rows.append(row("sshd's sessions killed", cell, "isolated and confirmed", str(result["verdict"]), good and shut <= WITHIN + GRACE, shut))
    assert adhoc(host, "isolation", "case=SESSION state=released").of(host)["verdict"] == "released"

    # Here access is not the host's to give.
    result, shut = asked(host, f"case=LISTENER backend={backend}", "listener")
    said = hosts.execute(host, ["sh", "-c", "journalctl -q --no-pager -t incident_response | grep -c 'case=LISTENER.*access sabotaged'"], check=False).stdout
    good = result["verdict"] == "unknown" and isolated(host) and int(said) >= 1
    rows.append(row("sshd's listener killed", cell, "isolated, nobody claims to know", f"{result['verdict']}, said in the journal", good, shut))
    hosts.execute(host, ["sh", "-c", "systemctl unmask --runtime ssh.service ssh.socket; systemctl start ssh"])
    again, shut = asked(host, f"case=LISTENER backend={backend}")
    good = (again["verdict"], again["changed"]) == ("contained", True) and "access sabotaged" in str(again["drift"])
    rows.append(row("sshd's listener is back", cell, "contained, and what was is said", str(again["verdict"]), good and shut <= WITHIN + GRACE, shut))
    assert adhoc(host, "isolation", "case=LISTENER state=released").of(host)["verdict"] == "released"
    matrix.write("rollback", rows)
    assert [one for one in rows if not one["holds"]] == []


def test_a_killed_module_leaves_no_half_and_nobody_out(cell):
    host, backend = cell
    before = rules(host)
    rows = []
    for number, moment in enumerate(MOMENTS):
        case = f"KILL-{number}"
        intruders.plant(host, "miner")
        with contextlib.closing(Access(host)) as access:
            event, _plus, seconds = moment.rpartition("+")
            with on_host(host, KILLER, case, event, seconds, network.C2) as killer:
                result = adhoc(host, "contain", f"case={case} backend={backend} confirm_within={WITHIN} autonomy=terminate").of(host)
                assert killer.wait(30) == 0, "the module was not seen"
            access.settle()
        how, still = outcome(host, before)
        confirmed = result.get("verdict") in ("partial", "contained")
        # What stays stopped under a confirmed isolation is told, and the next run ends it.
        told = not still or "live that should not" in str(result["reasons"])
        good = access.longest <= WITHIN + GRACE and (how == "isolated" and told if confirmed else how == "as before" and not still)
        rows.append(row(f"module killed, {moment} s", cell, "as before and nothing stopped, or isolated and said",
                        f"{result.get('verdict')}, {how}" + (", suspects stopped" if still else ""), good, access.longest))
        hosts.execute(host, ["sh", "-c", "ps -eo pid=,stat= | awk '$2 ~ /^T/ {print $1}' | xargs -r kill -CONT"], check=False)
        intruders.unplant(host, "miner")
        clean(host)
    matrix.write("rollback", rows)
    assert [one for one in rows if not one["holds"]] == []
    assert any("as before" in str(one["got"]) for one in rows) and any("isolated" in str(one["got"]) for one in rows), "the moments are too much alike"


def test_a_killed_controller_leads_to_the_undo(cell):
    host, backend = cell
    before = rules(host)
    rows = []
    for number, moment in enumerate(CONTROLLER_MOMENTS):
        intruders.plant(host, "miner")
        with contextlib.closing(Access(host)) as access:
            with subprocess.Popen(command("ansible", host, "-m", "firebreak.response.contain", "-a",
                                          f"case=CONTROLLER-{number} backend={backend} confirm_within={WITHIN} autonomy=terminate"),
                                  env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                time.sleep(moment)
                kill_all()
            access.settle()
        how, still = outcome(host, before)
        held = hosts.execute(host, ["sh", "-c", "ls /etc/systemd/system/firebreak-hold-*"], check=False).returncode == 0
        # Killed while its second connection was made, it looks to the host like somebody who is kept out: isolated, with the way in open.
        log = hosts.execute(host, ["sh", "-c", f"journalctl -q --no-pager -t incident_response | grep 'case=CONTROLLER-{number} ' | grep -c sabotaged"],
                            check=False).stdout
        said = int(log or 0) > 0 and way_in(host)
        good = access.longest <= WITHIN + GRACE and (how == "as before" and not still or how == "isolated" and (held or said and not still))
        rows.append(row(f"controller killed, {moment} s", cell, "as before and nothing stopped, or confirmed",
                        how + (", suspects stopped" if still else ""), good, access.longest))
        intruders.unplant(host, "miner")
        clean(host)
    matrix.write("rollback", rows)
    assert [one for one in rows if not one["holds"]] == []


def test_a_reboot_while_armed_gives_the_host_back(cell):
    host, backend = cell
    before = rules(host)
    within = 60
    with contextlib.closing(Access(host)) as access:
        with subprocess.Popen(command("ansible", host, "-m", "firebreak.response.isolation", "-a",
                                      f"case=ARMED backend={backend} management=192.0.2.77 confirm_within={within}"),
                              env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            deadline = time.monotonic() + 20
            while way_in(host):
                assert time.monotonic() < deadline, "never cut"
            kill_all()
        hosts.reboot(host)
        good = rules(host) == before and way_in(host)
    good = good and access.longest <= within + GRACE
    result = adhoc(host, "isolation", f"case=ARMED backend={backend}").of(host)
    good = good and result["verdict"] == "contained"
    released = adhoc(host, "isolation", "case=ARMED state=released").of(host)
    matrix.write("rollback", [row("rebooted while armed", cell, "as before, and isolated by the next run", str(result["verdict"]), good, access.longest)])
    assert good and released["verdict"] == "released", result
