# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many light hosts beside the real ones: namespaces over one image, for what only shows in numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path

from . import hosts, images, network
from .machine import STATE, LabError, end_all, inside, run, space, spaces, start

INVENTORY = STATE / "fleet.yml"
SCRIPT = Path(__file__).with_name("light.sh")
# Addresses 10.66.0.130 to .254 of the hosts' network are the fleet's.
FIRST, MOST = 130, 125


def names() -> list[str]:
    """The light hosts that there are."""
    return sorted(role for role in spaces() if role.startswith("light"))


def up(count: int, processes: int = 0, host: str = "deb13") -> None:
    """Bring up `count` light hosts of a release, each with so many sleeping processes; those of before are ended."""
    if not 1 <= count <= MOST:
        raise LabError(f"fleet: {count} hosts asked for; from 1 to {MOST} can be had")
    hosts.up()
    down()
    (STATE / "light").mkdir(exist_ok=True)
    made = [f"light{number:03}" for number in range(1, count + 1)]
    for number, name in enumerate(made):
        network.attach(name, FIRST + number)
        start(inside(name, ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", str(SCRIPT), name,
                            str(images.image(images.RELEASES[host])), str(STATE), str(processes)]), f"{name}.log")
    _inventory(made, host)
    deadline = time.monotonic() + 60
    for number, name in enumerate(made):
        while not hosts.answers("controller", network.lan4(FIRST + number), 22, 0.5):
            if time.monotonic() > deadline:
                raise LabError(f"light host {name} does not answer on port 22; see {STATE}/{name}.log")
            time.sleep(0.1)


def down() -> None:
    """End the light hosts; the rest of the lab stays."""
    there = names()
    end_all(there)
    for name in there:
        run(["ip", "netns", "delete", space(name)])
    INVENTORY.unlink(missing_ok=True)


def _inventory(made: list[str], host: str) -> None:
    """Write the fleet's inventory: the lab's policy, and light hosts instead of the real ones."""
    lab = json.loads((STATE / "inventory.yml").read_text(encoding="utf-8"))["lab"]["vars"]
    key = (images.image(images.RELEASES[host]) / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()[:2]
    addresses = [network.lan4(FIRST + number) for number in range(len(made))]
    known = STATE / "fleet_known_hosts"
    known.write_text("".join(f"{address} {' '.join(key)}\n" for address in addresses), encoding="utf-8")
    policy = {**lab, "ansible_user": "root", "firebreak_max_hosts": MOST,
              "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o ConnectTimeout=10"}
    tree = {"fleet": {"vars": policy, "hosts": {name: {"ansible_host": address} for name, address in zip(made, addresses)}}}
    INVENTORY.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
