# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode foresees what only concerns the unit that holds an isolation: check, apply, repeat, check again, read by the host's own programs."""

from __future__ import annotations

import pytest

from tests.lab import hosts
from tests.lab.controller import adhoc

from . import matrix

UNIT = "firebreak-hold-UNIT.service"
READ = f"""
cat /etc/systemd/system/{UNIT} /run/systemd/system/{UNIT} 2>/dev/null | sha256sum; ls /etc/systemd/system/*.wants/{UNIT} 2>/dev/null
systemctl show -p ActiveState -p ActiveEnterTimestampMonotonic -p InvocationID {UNIT}; find /var/lib/firebreak -printf '%p %T@ %s\\n' | grep -v /frames | sort
nft -s list ruleset; iptables-save | grep FIREBREAK
"""


def read(host: str) -> str:
    """Unit, what holds it, files of ours with their times, rules: what check mode must not touch."""
    return hosts.execute(host, ["sh", "-c", READ], check=False).stdout


# One of them a day: what is asked here is the same on each.
@pytest.mark.parametrize("cell", matrix.cells()[1:], ids="-".join, indirect=True)
def test_a_change_of_persist_or_watch_alone_is_foreseen(cell):
    host, backend = cell

    def run(more: str, *flags: str, module: str = "isolation") -> dict:
        return adhoc(host, module, f"case=UNIT backend={backend} {more}", *flags).of(host)

    assert run("")["verdict"] == "contained"
    try:
        for more, there in (("persist=false", True), ("persist=false watch=false", False), ("", True)):
            before = read(host)
            checked = run(more, "--check", "--diff")
            assert (checked["changed"], checked["verdict"]) == (True, "would_be contained"), (more, checked)
            diff = checked["diff"]
            assert diff["after_header"] == UNIT and diff["before"] != diff["after"] and bool(diff["after"]) is there, (more, diff)
            assert read(host) == before, more
            applied = run(more, "--diff")
            assert (applied["changed"], applied["verdict"], applied["diff"]) == (True, "contained", diff), (more, applied["reasons"])
            assert bool(applied["proof"]["hold"]["unit"]) is there
            assert run(more)["changed"] is run(more, "--check")["changed"] is False, more
        assert run("steps=isolation", "--check", module="contain")["changed"] is False
        assert run("steps=isolation watch=false", "--check", module="contain")["changed"] is True
        # Whatever somebody made of it counts too.
        hosts.execute(host, ["systemctl", "stop", UNIT])
        checked = run("", "--check", "--diff")
        assert checked["changed"] is True and "does not run" in checked["diff"]["before"]
        assert run("")["changed"] is True and run("", "--check")["changed"] is False
    finally:
        assert adhoc(host, "isolation", "case=UNIT state=released").of(host)["verdict"] == "released"
