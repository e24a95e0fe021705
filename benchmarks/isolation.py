# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolation and release with many allowed networks against a shell loop of iptables calls, run in turn on the same real host.

Each is measured from the start of its own code, after that of its interpreter. Ours arms a way back and writes it down; the loop does not.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from tests.lab import hosts, network

HERE = Path(__file__).parent
FOLDER = "/run/isolation-bench"
BACKENDS = ("nftables", "iptables")
VERBS = {"applied": "apply", "released": "release"}
RUNS = {10: 9, 100: 7, 1000: 5}  # allowed networks -> rounds; the loop takes seconds for many
LIMIT = 1.0  # never slower than the loop, where it can be told on a busy machine


def limit(backend: str, verb: str, count: int) -> float | None:
    """The most that ours may take, in times of the loop; None for what is reported only.

    For ten networks the loop makes hardly more iptables calls than we do. A release by iptables has more to take away than the
    script made (a second look in mangle, and the tables that came with it), reads the rules before and after, and ends sockets.
    """
    return None if backend == "iptables" and (verb == "released" or count < 100) else LIMIT


def networks(count: int) -> str:
    """So many networks, a line each, half of them IPv6; none can be merged with another."""
    return "".join(f"10.{number // 250}.{number % 250}.0/25\n" if number % 2 else f"2001:db8:{number:x}::/49\n" for number in range(count))


def _place(host: str) -> None:
    """A copy of what runs on hosts, of the script and of the program."""
    below = Path(f"/proc/{hosts.leader(host)}/root{FOLDER}")
    shutil.rmtree(below, ignore_errors=True)
    shutil.copytree(HERE.parent / "plugins/module_utils", below / "ansible_collections/firebreak/response/plugins/module_utils",
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("loop.sh", "on_host.py"):
        shutil.copy(HERE / name, below / name)
    (below / "work").mkdir()


def _taken(host: str, given: str, *program: str) -> dict[str, float]:
    """Seconds of a program on the host, there and back; its arguments begin after the verb."""
    command, script, *arguments = program
    return {told: float(hosts.execute(
        host, [command, f"{FOLDER}/{script}", verb, *arguments, network.address("controller")], text=given, timeout=300).stdout)
        for told, verb in VERBS.items()}


def measure() -> list[dict[str, object]]:
    """The figures, one a backend, verb and number of networks, each of the release where it is worst; medians of interleaved rounds."""
    hosts.up()
    worst: dict[str, dict[str, object]] = {}
    for host in hosts.HOSTS:
        _place(host)
        for count, rounds in RUNS.items():
            given = networks(count)
            taken = [(_taken(host, given, "bash", "loop.sh"), {
                backend: _taken(host, given, "python3", "on_host.py", backend) for backend in BACKENDS}) for _round in range(rounds)]
            for backend in BACKENDS:
                for verb in VERBS:
                    value = statistics.median(ours[backend][verb] for _loops, ours in taken)
                    against = statistics.median(loops[verb] for loops, _ours in taken)
                    most, ratio, place = limit(backend, verb, count), value / against, f"{backend}, {count} networks {verb}"
                    if place in worst and float(str(worst[place]["ratio"])) >= round(ratio, 3):
                        continue
                    worst[place] = {
                        "name": f"isolation/{place} ({host})", "value": round(value, 4), "unit": "s", "against": round(against, 4),
                        "ratio": round(ratio, 3), "limit": most, "holds": None if most is None else ratio <= most}
        hosts.execute(host, ["rm", "-rf", FOLDER])
    return [worst[f"{backend}, {count} networks {verb}"] for backend in BACKENDS for count in RUNS for verb in VERBS]
