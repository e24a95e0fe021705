# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a host: isolates it as the module does up to the cut, or releases it. Prints the seconds it took.

usage: on_host.py apply|release BACKEND MANAGEMENT_ADDRESS <NETWORKS    beside a copy of the collection; networks as for loop.sh
"""

from __future__ import annotations

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._isolation._control import Isolation
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan
from ansible_collections.firebreak.response.plugins.module_utils._isolation._release import Release


def apply(work: Workdir, session: Session, backend: str, management: str, networks: list[str]) -> float:
    """From the policy to the cut; what follows (frames, writing down, proof) is checked, not timed."""
    began = time.monotonic()
    plan = make_plan(session, [network + " 514/udp" for network in networks], [management], [], "local")
    isolation = Isolation(work, plan, backend)
    isolation.inspect()
    isolation.arm(60)
    isolation.prepare()
    isolation.cut()
    took = time.monotonic() - began
    isolation.settle()
    if not isolation.proof()["ruleset"]:
        sys.exit("the rules are not what was meant")
    return took


def release(work: Workdir, session: Session, backend: str) -> float:
    """From reading what is in force to the host as it was."""
    began = time.monotonic()
    Release(work, None, backend).release(session)
    return time.monotonic() - began


def main() -> None:
    """Do what the command line says."""
    verb, backend, management = sys.argv[1:]
    work = Workdir("BENCH", root=os.path.join(HERE, "work"))
    session = Session("", 0, "", 0, "none", [])
    networks = sys.stdin.read().split()
    print(apply(work, session, backend, management, networks) if verb == "apply" else release(work, session, backend))


if __name__ == "__main__":
    main()
