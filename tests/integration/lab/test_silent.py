# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program on an isolated host learns when it tries: nothing where a suspect's peer is, a refusal at once anywhere else."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc, seen

# Seconds, by the host's own clock, and the error's name for each connection that is tried; those that hang are given up.
TRY = """
import errno, json, socket, sys, time
said = {}
for address in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET); s.settimeout(4); began = time.monotonic()
    try: s.connect((address, 8443)); what = "connected"
    except socket.timeout: what = "hangs"
    except OSError as error: what = errno.errorcode.get(error.errno, str(error))
    said[address] = [what, time.monotonic() - began]
print(json.dumps(said))
"""
STRANGERS = ("192.0.2.1", "2001:db8:77::1")


def tried(host: str, *addresses: str) -> dict[str, list]:
    """What a program of the host is told by each of the addresses: [word, seconds]."""
    return json.loads(hosts.execute(host, ["python3", "-c", TRY, *addresses]).stdout)


@pytest.mark.parametrize("cell", [("deb13", "nftables"), ("deb12", "iptables")], ids="-".join, indirect=True)
def test_a_suspects_peer_is_silent_and_everybody_else_refuses(cell):
    host, backend = cell
    before = hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout
    began = time.time()
    for name in ("reverse-shell", "beacon-ipv6"):
        intruders.plant(host, name)
    while not seen("c2", began, network.address(host), "shell"):
        assert time.time() - began < 30, "the intruder is not alive before"
        time.sleep(0.2)
    checked = adhoc(host, "contain", f"case=SILENT backend={backend}", "--check", "--diff").of(host)
    assert network.C2 in str(checked["diff"]), "check mode foresees it"
    result = adhoc(host, "contain", f"case=SILENT backend={backend} second_look=0").of(host)
    try:
        proof = result["steps"]["isolation"]["proof"]
        assert proof["ruleset"] and proof["confirmed"] and network.C2 in proof["silent"], result
        silent = [address for address in (network.C2, network.C2_6) if address in proof["silent"]]
        answers = tried(host, *silent, *STRANGERS)
        assert [answers[address][0] for address in silent] == ["hangs"] * len(silent), answers
        assert all(answers[address][0] not in ("hangs", "connected") and answers[address][1] < 0.2 for address in STRANGERS), answers
        # Nobody is suspected any more, or nobody is asked who is; what is in force stays.
        for again in (adhoc(host, "contain", f"case=SILENT backend={backend} second_look=0"), adhoc(host, "isolation", f"case=SILENT backend={backend}")):
            later = again.of(host)
            assert later["changed"] is False, later
            assert later.get("steps", {}).get("isolation", later)["proof"]["silent"] == proof["silent"]
        # An allow list that changes does not change it either, unless it names the address.
        wider = adhoc(host, "isolation", f"case=SILENT backend={backend} allow='10.66.0.30 514/udp'").of(host)
        assert (wider["verdict"], wider["changed"], wider["proof"]["silent"]) == ("contained", True, proof["silent"]), wider
        assert tried(host, network.C2)[network.C2][0] == "hangs"
    finally:
        for name in ("reverse-shell", "beacon-ipv6"):
            intruders.unplant(host, name)
        adhoc(host, "suspicious_process", "case=SILENT state=released")
        released = adhoc(host, "isolation", "case=SILENT state=released").of(host)
    assert (released["verdict"], released["changed"]) == ("released", True), released
    assert hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout == before
