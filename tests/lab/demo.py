# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`./dev demo`: a breached host, contained by the real playbook and given back, seen from the attacker's server.

Exits with 0 only if everything that it claims was so.
"""

from __future__ import annotations

import sys
import time

from . import hosts, intruders, network
from .controller import playbook, seen
from .machine import LabError

HOST = "deb13"
WATCH = 2.0
INTRUDERS = tuple(name for name in intruders.NAMES if name != "cron")


class Demo:
    """Says what it sees, and remembers what was not as it should be."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.wrong: list[str] = []

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def claim(self, holds: object, text: str) -> None:
        """A claim: printed as what it is."""
        self.say(f"{'yes' if holds else 'NO!'}: {text}")
        if not holds:
            self.wrong.append(text)


def _attacker() -> dict[str, int]:
    """What the attacker's server hears from the host within two seconds, by kind."""
    since = time.time()
    time.sleep(WATCH)
    heard: dict[str, int] = {}
    for entry in seen("c2", since):
        if entry["source"] in (network.address(HOST), network.address6(HOST)):
            heard[entry["kind"]] = heard.get(entry["kind"], 0) + 1
    return heard


def _rules() -> str:
    return hosts.execute(HOST, ["nft", "-s", "list", "ruleset"]).stdout


def _contain(demo: Demo, case: str) -> None:
    demo.say(f"ansible-playbook firebreak.response.contain -l {HOST} -e firebreak_case={case} -e firebreak_autonomy=terminate")
    run = playbook("contain", "-l", HOST, "-e", f"firebreak_case={case}", "-e", "firebreak_autonomy=terminate")
    result = run.of(HOST, "Contain the host")
    demo.claim(run.status == 0 and result.get("verdict") == "contained", f"the verdict is {result.get('verdict')}")
    if "steps" not in result:
        demo.say(f"because: {result.get('reasons')}")
        return
    proof = result["steps"]["isolation"]["proof"]
    demo.say(f"   proof: the kernel holds the rules that were meant: {proof['ruleset']}; forbidden connections left: "
             f"{proof['flows_remaining']}; confirmed {proof['confirmation']}; way back armed by {proof['rollback']}")
    for step in result["timeline"]:
        demo.say(f"   {step['at']:7.3f} s after the module's start: {step['step']}")
    demo.say("   seconds of the run: " + ", ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items()))
    demo.say(f"   cut connections: {len(result['steps']['isolation']['flows_cut'])}; "
             f"ended processes: {len(result['steps']['termination']['terminated'])}")
    demo.say(f"   evidence: {result['evidence']['path']} ({result['evidence']['size']} bytes, verified on arrival)")


def main() -> int:
    """Run the demonstration; 0 where every claim held."""
    demo = Demo()
    hosts.up()
    demo.say("three Debian hosts, a monitoring system, an internet with the attacker's server: up, without any way out")
    for name in intruders.NAMES:
        intruders.unplant(HOST, name)
    before = _rules()
    for name in INTRUDERS:
        intruders.plant(HOST, name)
    demo.say(f"{HOST} is breached: {', '.join(INTRUDERS)}")
    heard = _attacker()
    demo.claim({"shell", "udp", "pool"} <= set(heard), f"the attacker's server hears from {HOST}: {heard}")
    case = f"DEMO-{int(time.time())}"
    _contain(demo, case)
    heard = _attacker()
    demo.claim(not heard, f"the attacker's server hears nothing any more: {heard}")
    demo.claim(hosts.answers("controller", network.address(HOST), 22), "the responder still gets in, over a new connection")
    demo.claim(hosts.answers("monitoring", network.address(HOST), 9100), "the monitoring system still gets its figures")
    demo.say(f"ansible-playbook firebreak.response.release -l {HOST} -e firebreak_case={case}")
    run = playbook("release", "-l", HOST, "-e", f"firebreak_case={case}")
    demo.claim(run.status == 0, f"the host is {run.of(HOST, 'Give the network back').get('verdict')}")
    demo.claim(_rules() == before, "its firewall is what it was")
    heard = _attacker()
    # What his server still sends is answered by the kernel: there is no such connection. That is its end, not its life.
    demo.claim(not set(heard) - {"reset"}, f"no cut connection came back to life: {heard}")
    for name in INTRUDERS:
        intruders.unplant(HOST, name)
    demo.say("the lab stays up for you: ./dev lab status, ./dev lab down")
    print("\n" + ("Everything held." if not demo.wrong else "DID NOT HOLD: " + "; ".join(demo.wrong)))
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"demo: {error}")
