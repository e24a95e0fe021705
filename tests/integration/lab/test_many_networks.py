# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hundreds of allowed networks with iptables: they come, are changed, changed badly, and go without a trace."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from . import matrix
from .conftest import clean

MANY = [f"10.{99 + number // 100}.{number % 100}.0/25 514/udp" if number % 2 else f"2001:db8:{number:x}::/49 514/udp" for number in range(300)]
FEW = MANY[:3]


def firewall(host: str) -> str:
    """Everything that the host's own programs list, without counters."""
    listed = hosts.execute(host, ["sh", "-c", "nft -s list ruleset; iptables-save; ip6tables-save"]).stdout
    return "\n".join(line.split(" [")[0] for line in listed.splitlines() if not line.startswith("#"))


@pytest.fixture(params=sorted({host for host, _backend in matrix.one()}))
def host(request, lab):
    """A host of another release each day, clean before and after."""
    clean(request.param)
    yield request.param
    clean(request.param)


def test_hundreds_of_networks_come_and_go_without_a_trace(host):
    before = firewall(host)

    def isolate(allow: list[str], **more: object) -> dict:
        monitoring = f"{network.address('monitoring')} 9100/tcp in"
        options = {"case": "MANY", "backend": "iptables", "allow": [*allow, monitoring], **more}
        return adhoc(host, "isolation", json.dumps(options)).of(host)

    def chains() -> int:
        return sum(line.startswith(":FIREBREAK-") for line in firewall(host).splitlines())

    first = isolate(MANY)
    assert (first["verdict"], first["changed"]) == ("contained", True), first["reasons"]
    many = chains()
    assert many > 50
    assert hosts.answers("monitoring", network.address(host), 9100) and not hosts.answers(host, network.C2, 8443, 0.5)
    assert isolate(MANY)["changed"] is False
    fewer = isolate(FEW)
    assert (fewer["verdict"], fewer["changed"], fewer["drift"], chains()) == ("contained", True, [], 8)
    bad = isolate(MANY, management=["192.0.2.77"], confirm_within=5, on_management_lost="release")
    assert (bad["verdict"], bad["rolled_back"], chains()) == ("failed", True, 8)
    again = isolate(FEW)
    assert (again["verdict"], again["changed"]) == ("contained", False), again
    # What somebody takes away comes back whole.
    assert isolate(MANY)["verdict"] == "contained" and chains() == many
    whole = firewall(host)
    hosts.execute(host, ["sh", "-c", "iptables -F FIREBREAK-OUTPUT; ip6tables -F"])
    end = time.monotonic() + 5
    while (rules := firewall(host)) != whole:
        assert time.monotonic() < end, rules
        time.sleep(0.2)
    after = isolate(MANY)
    assert (after["verdict"], after["changed"]) == ("contained", False) and "put back" in str(after["drift"]), after
    assert adhoc(host, "isolation", "case=MANY state=released").of(host)["verdict"] == "released"
    assert firewall(host) == before
