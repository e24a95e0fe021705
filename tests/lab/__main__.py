# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's command line: up, down, status, exec ROLE COMMAND…, plant HOST NAME…, unplant HOST NAME…, fleet up|down."""

from __future__ import annotations

import argparse
import sys

from . import fleet, hosts, intruders
from .machine import LabError


def main() -> int:
    """Do what the command line says; the exit status of the command for `exec`."""
    parser = argparse.ArgumentParser(prog="./dev lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "down", "status"):
        verbs.add_parser(verb)
    execute = verbs.add_parser("exec")
    execute.add_argument("role")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    for verb in ("plant", "unplant"):
        plant = verbs.add_parser(verb)
        plant.add_argument("host", choices=hosts.HOSTS)
        plant.add_argument("names", nargs="*", choices=[*intruders.NAMES, []])
    many = verbs.add_parser("fleet").add_subparsers(dest="fleet", required=True)
    many.add_parser("down")
    more = many.add_parser("up")
    more.add_argument("-n", "--number", type=int, default=30)
    more.add_argument("--processes", type=int, default=0, help="sleeping processes on each")
    more.add_argument("--release", choices=hosts.HOSTS, default=hosts.HOSTS[0])
    asked = parser.parse_args()
    if asked.verb == "up":
        hosts.up()
        print(f"lab is up; inventory {hosts.STATE / 'inventory.yml'}")
    elif asked.verb == "down":
        hosts.down()
    elif asked.verb == "fleet" and asked.fleet == "up":
        fleet.up(asked.number, asked.processes, asked.release)
        print(f"{asked.number} light hosts are up; inventory {fleet.INVENTORY}")
    elif asked.verb == "fleet":
        fleet.down()
    elif asked.verb == "status":
        for role, there in hosts.status().items():
            print(f"{role:12} {'up' if there else 'down'}")
    elif asked.verb == "exec":
        command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
        done = hosts.execute(asked.role, command, check=False, timeout=3600)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode
    else:
        act = intruders.plant if asked.verb == "plant" else intruders.unplant
        for name in asked.names or intruders.NAMES:
            act(asked.host, name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"lab: {error}")
