# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The equality matrix: hosts with firewalls and networks of their own are after a release what they were before the isolation.

`./dev matrix equality` runs it on every release, with both backends.
"""

from __future__ import annotations

import pytest

from tests.lab.controller import adhoc

from . import firewalls, matrix
from .conftest import clean
from .firewalls import difference, do, pod_gets_out, pod_is_reached, read

# What the host has -> how it comes to that, and on which hosts.
CASES = {
    "nothing of its own": ("", ("deb13", "deb12", "deb11")),
    "nftables": (firewalls.NFT, ("deb13", "deb12", "deb11")),
    "iptables, both variants": (firewalls.IPTABLES.format("nft") + firewalls.IPTABLES.format("legacy"), ("deb13", "deb12", "deb11")),
    "iptables-legacy alone": (firewalls.LEGACY + firewalls.IPTABLES.format("legacy"), ("deb13", "deb12", "deb11")),
    "firewalld": (firewalls.FIREWALLD, ("deb13", "deb12")),
    "ufw": (firewalls.UFW, ("deb12",)),
    "container network": (firewalls.CONTAINER, ("deb13", "deb12", "deb11")),
}


@pytest.fixture(params=matrix.cells(), ids="-".join)
def cell(request, lab):
    """(release, backend)."""
    host = request.param[0]
    clean(host)
    do(host, firewalls.WIPE)
    yield request.param
    clean(host)
    do(host, firewalls.WIPE)


def given_back(host: str, backend: str, case: str) -> str:
    """Isolate and release once: "equal", with how many tables the result calls residual, or what is not as it was."""
    contained = case == "container network"
    before = read(host)
    if contained and not (pod_gets_out(host) and pod_is_reached(host)):
        return "the container's traffic did not work before the isolation, which proves nothing"
    isolated = adhoc(host, "isolation", f"case=EQUAL backend={backend}").of(host)
    between = difference(before, read(host))
    passed = contained and (pod_gets_out(host) or pod_is_reached(host))
    released = adhoc(host, "isolation", "case=EQUAL state=released").of(host)
    after = read(host)
    wrong = [] if isolated["verdict"] == "contained" else [f"{isolated['verdict']}: {isolated.get('reasons')}"]
    wrong += [] if released["verdict"] == "released" else [f"{released['verdict']}: {released.get('reasons')}"]
    wrong += [] if between else ["nothing is seen of the isolation, so that what is read proves nothing"]
    wrong += ["the container's traffic passed"] if passed else []
    wrong += ["the container's traffic is not back"] if contained and not (pod_gets_out(host) and pod_is_reached(host)) else []
    residual = released["residual"]
    for name in residual:  # legacy tables cannot be taken away; they must be empty, and named
        _program, _word, table, _of, version = name.replace("IPv4", "").replace("IPv6", "6").split(" ")
        after[f"legacy tables of ip{version}"].remove(table)
        left = after.pop(f"ip{version}tables-legacy {table}")
        wrong += [f"{name} is not empty"] if "-A " in left or " DROP" in left else []
    wrong += difference(before, after)
    wrong += [f"changes of others are told that there were not: {released['changed_by_others']}"] if released["changed_by_others"] else []
    return "; ".join(wrong) or "equal" + (f" ({len(residual)} residual)" if residual else "")


def test_a_released_host_is_as_it_was(cell):
    host, backend = cell
    rows = []
    do(host, firewalls.ROUTES)
    for case, (script, where) in CASES.items():
        if host not in where:
            continue
        do(host, f"set -e\n{script}")
        try:
            got = given_back(host, backend, case)
        finally:
            do(host, firewalls.WIPE + firewalls.ROUTES)
        rows.append({"case": case, "release": host, "backend": backend, "expected": "equal", "got": got, "holds": got.startswith("equal")})
    matrix.write("equality", rows)
    assert [row for row in rows if not row["holds"]] == []


def test_what_others_change_meanwhile_stays_and_is_told(cell):
    host, backend = cell
    do(host, f"set -e\n{firewalls.NFT}{firewalls.IPTABLES.format('nft')}")
    before = read(host)
    assert adhoc(host, "isolation", f"case=OTHERS backend={backend}").of(host)["verdict"] == "contained"
    do(host, "nft add table inet late; nft add chain inet late kept; nft add rule inet late kept udp dport 5 drop; nft delete table ip6 raw\n"
             "nft add element inet site guessers '{ 198.51.100.77 }'; iptables-nft -I INPUT -s 192.0.2.99 -j DROP")
    result = adhoc(host, "isolation", "case=OTHERS state=released").of(host)
    assert (result["verdict"], result["changed"]) == ("released", True)
    assert result["changed_by_others"] == ["new: nftables inet late", "changed: nftables ip filter", "gone: nftables ip6 raw"]
    assert any("what others have in the firewall has changed" in reason for reason in result["reasons"])
    after = read(host)
    assert "udp dport 5 drop" in str(after["nft"]) and "-A INPUT -s 192.0.2.99/32 -j DROP" in str(after["iptables-nft"])
    assert "table ip6 raw" not in str(after["nft"]) and "198.51.100.77" in str(after["nft"])
    # Without what they did, it is the host from before.
    do(host, "nft delete table inet late; iptables-nft -D INPUT -s 192.0.2.99 -j DROP; nft delete element inet site guessers '{ 198.51.100.77 }'")
    after = read(host)
    left = [line for line in difference(before, after) if not line.startswith(("nft:", "ip6tables-nft:"))]
    assert left == []
    tables = str(before["nft"]).split("\ntable ")
    assert str(after["nft"]).rstrip().split("\ntable ") == [text.rstrip() for text in tables if not text.startswith("ip6 raw ")]


def test_a_host_that_was_never_isolated_is_released_without_a_change(cell):
    host, _backend = cell
    do(host, f"set -e\n{firewalls.NFT}")
    before = read(host)
    result = adhoc(host, "isolation", "case=NEVER state=released").of(host)
    assert (result["verdict"], result["changed"], result["residual"], result["changed_by_others"]) == ("released", False, [], [])
    assert difference(before, read(host)) == []
