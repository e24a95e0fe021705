# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab for the tests: up once, every host released and without intruders before and after each test."""

from __future__ import annotations

import pytest

from tests.lab import hosts, intruders

from . import matrix


@pytest.fixture(scope="session", autouse=True)
def lab():
    """The lab, brought up where it is not; taken down again if this run brought it up."""
    was_up = (hosts.STATE / "ready").exists()
    hosts.up()
    yield hosts
    if not was_up:
        hosts.down()


@pytest.fixture(params=hosts.HOSTS)
def host(request, lab):
    """A host of each release, clean before and after."""
    clean(request.param)
    yield request.param
    clean(request.param)


@pytest.fixture(params=matrix.cells(), ids="-".join)
def cell(request, lab):
    """(release, backend) of a matrix, the host clean before and after."""
    clean(request.param[0])
    yield request.param
    clean(request.param[0])


def clean(host: str) -> None:
    """Take away by hand what a failed test may have left: rules, timers, work folders, intruders."""
    for name in intruders.NAMES:
        intruders.unplant(host, name)
    hosts.execute(host, [
        "sh", "-c", "systemctl stop 'firebreak-*' 2>/dev/null; nft flush ruleset; rm -rf /var/lib/firebreak; "
        "tc qdisc delete dev host0 clsact 2>/dev/null; "
        "rm -rf /etc/systemd/system/firebreak-* /etc/systemd/system/*.wants/firebreak-* /run/systemd/system/firebreak-*; "
        "systemctl daemon-reload"], check=False)
