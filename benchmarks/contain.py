# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`contain` on a host with 300 processes against a responder's own Bash script, run in turn on the same host."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc

SCRIPT = Path(__file__).with_name("baseline.sh")
PROCESSES = 300
RUNS = 10
# Step of the timeline -> the most that it may take, in times of the script's whole time.
LIMITS = {"ruleset in force": 0.7, "last suspect dead": 1.5, "volatile tier safe": 2.5}
FLUSH = "iptables -F; rm -rf /run/baseline"


def _fill(host: str) -> None:
    """Sleeping processes up to 300; those of a run that was broken off go first."""
    hosts.execute(host, ["systemctl", "stop", "lab-crowd"], check=False)
    count = len(hosts.execute(host, ["ps", "-e", "-o", "pid="]).stdout.split())
    hosts.execute(host, ["systemd-run", "--quiet", "--collect", "--unit=lab-crowd", "bash", "-c",
                         f"for i in $(seq {max(1, PROCESSES - count)}); do sleep 3600 & done; wait"])
    time.sleep(1)


def _baseline(host: str) -> float:
    intruders.plant(host, "reverse-shell")
    time.sleep(0.5)
    hosts.execute(host, ["tee", "/run/baseline.sh"], text=SCRIPT.read_text(encoding="utf-8"))
    took = float(hosts.execute(host, ["bash", "/run/baseline.sh", "/run/baseline", network.address("controller"), "bash -i"]).stdout)
    hosts.execute(host, ["sh", "-c", FLUSH])
    intruders.unplant(host, "reverse-shell")
    return took


def _contain(host: str, number: int) -> dict[str, float]:
    intruders.plant(host, "reverse-shell")
    time.sleep(0.5)
    case = f"BENCH-{number}"
    run = adhoc(host, "contain", f"case={case} autonomy=terminate second_look=0")
    result = run.of(host)
    adhoc(host, "isolation", f"case={case} state=released")
    if result.get("verdict") != "contained":
        raise RuntimeError(f"a run that did not contain is no figure: {result.get('reasons')}")
    taken = {step["step"]: step["at"] for step in result["timeline"]}
    taken["imports"] = result["import_seconds"]
    taken["session"] = result["session_seconds"]
    return taken


def measure() -> list[dict[str, object]]:
    """The figures, one a release and step; medians of runs that were interleaved."""
    hosts.up()
    figures: list[dict[str, object]] = []
    for host in hosts.HOSTS:
        _fill(host)
        pairs = [(_baseline(host), _contain(host, number)) for number in range(RUNS)]
        hosts.execute(host, ["systemctl", "stop", "lab-crowd"], check=False)
        script = statistics.median(pair[0] for pair in pairs)
        for step in (*LIMITS, "imports", "session"):
            value = statistics.median(pair[1][step] for pair in pairs)
            limit = LIMITS.get(step)
            ratio = value / script
            figures.append({
                "name": f"contain/{host}/{step}", "value": round(value, 4), "unit": "s", "against": round(script, 4),
                "ratio": round(ratio, 2), "limit": limit, "holds": None if limit is None else ratio <= limit})
    return figures
