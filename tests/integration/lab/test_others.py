# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leak matrix of the ways in which people isolate a host today, by the same channels, ends and ear as ours.

`./dev matrix others` runs all of them, a run of the tests one of them, another each day. A leak is theirs and only reported; what
would make the comparison worthless fails: a channel that was shut before, a way that does not isolate, a responder who is locked out.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import playbook
from tests.lab.machine import STATE

from . import matrix
from .channels import FORGET, LIVE, NEW, PAST
from .conftest import clean
from .trial import Past, Trial, rows_of

HOST = "deb13"
SECONDS = 8.0
RESPONDER, MONITORING = network.address("controller"), network.MONITORING
# As it stands in many a runbook: what is established may go on, the responder's ssh and the monitoring system too, the rest is dropped.
SCRIPT = f"""
set -e
iptables -A INPUT -i lo -j ACCEPT
iptables -A OUTPUT -o lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -p tcp -s {RESPONDER} --dport 22 -j ACCEPT
iptables -A INPUT -p tcp -s {MONITORING} --dport 9100 -j ACCEPT
iptables -A OUTPUT -p tcp -d {MONITORING} --dport 6514 -j ACCEPT
iptables -A OUTPUT -p udp -d {MONITORING} --dport 514 -j ACCEPT
iptables -P INPUT DROP
iptables -P FORWARD DROP
iptables -P OUTPUT DROP
"""
PLAY = """
- hosts: {host}
  gather_facts: false
  tasks:
    - name: The host talks to itself
      ansible.builtin.iptables: {{chain: INPUT, in_interface: lo, jump: ACCEPT}}
    - name: And hears itself
      ansible.builtin.iptables: {{chain: OUTPUT, out_interface: lo, jump: ACCEPT}}
    - name: The responder and the monitoring system come in
      ansible.builtin.iptables: {{chain: INPUT, protocol: tcp, source: "{{{{ item.source }}}}", destination_port: "{{{{ item.port }}}}", jump: ACCEPT}}
      loop: [{{source: {responder}, port: "22"}}, {{source: {monitoring}, port: "9100"}}]
    - name: They are answered
      ansible.builtin.iptables: {{chain: OUTPUT, protocol: tcp, destination: "{{{{ item.to }}}}", source_port: "{{{{ item.port }}}}", jump: ACCEPT}}
      loop: [{{to: {responder}, port: "22"}}, {{to: {monitoring}, port: "9100"}}]
    - name: The log goes on
      ansible.builtin.iptables: {{chain: OUTPUT, protocol: tcp, destination: {monitoring}, destination_port: "6514", jump: ACCEPT}}
    - name: And is answered
      ansible.builtin.iptables: {{chain: INPUT, protocol: tcp, source: {monitoring}, source_port: "6514", jump: ACCEPT}}
    - name: Everything else is dropped
      ansible.builtin.iptables: {{chain: "{{{{ item }}}}", policy: DROP}}
      loop: [FORWARD, INPUT, OUTPUT]
"""
# What Velociraptor's quarantine does, by description: one table of the family inet, call by call; its server by address and port, DNS
# with anybody, DHCP; no loopback. Its server is here the monitoring system, and the responder beside it, or nobody could look.
QUARANTINE = f"""
add table inet quarantine
add chain inet quarantine entering {{ type filter hook input priority 0; policy drop; }}
add chain inet quarantine passing {{ type filter hook forward priority 0; policy drop; }}
add chain inet quarantine leaving {{ type filter hook output priority 0; policy drop; }}
add rule inet quarantine leaving ip daddr {MONITORING} tcp dport 6514 accept
add rule inet quarantine entering ip saddr {MONITORING} tcp sport 6514 accept
add rule inet quarantine entering ip saddr {RESPONDER} tcp dport 22 accept
add rule inet quarantine leaving ip daddr {RESPONDER} tcp sport 22 accept
add rule inet quarantine leaving udp dport {{ 53, 67 }} accept
add rule inet quarantine entering udp sport {{ 53, 67 }} accept
"""
# A firewall that looks at connections is at work on most hosts; without one the rules for established ones know of none.
STATEFUL = "table inet lab_stateful {\nchain seen {\ntype filter hook input priority 10;\nct state new\n}\n}\n"


def script() -> None:
    """The plain script."""
    hosts.execute(HOST, ["sh", "-c", SCRIPT])


def tasks() -> None:
    """The tasks, by the real module through the real Ansible."""
    path = STATE / "others.yml"
    path.write_text(PLAY.format(host=HOST, responder=RESPONDER, monitoring=MONITORING), encoding="utf-8")
    run = playbook(str(path))
    assert run.status == 0, run.out


def quarantine() -> None:
    """The quarantine, a call of nft each line."""
    for line in QUARANTINE.strip().splitlines():
        hosts.execute(HOST, ["nft", *line.split()])


WAYS = {"iptables-script": script, "ansible.builtin.iptables": tasks, "quarantine": quarantine}


def today() -> list[str]:
    """All ways with FIREBREAK_ALL set, else one, another each day."""
    return list(WAYS) if os.environ.get("FIREBREAK_ALL") else [list(WAYS)[int(time.time() // 86400) % len(WAYS)]]


@pytest.fixture(params=today())
def way(request, lab):
    """One of the ways, on a host that is clean before and after."""
    clean(HOST)
    hosts.execute(HOST, ["nft", "-f", "-"], text=STATEFUL)
    yield request.param
    clean(HOST)


def test_ways_of_others(way):
    with Trial(HOST) as trial:
        assert trial.void() == [], "channels that are shut before the isolation prove nothing"
        trial.pause()
        # What the trial has left in connection tracking would make new channels old ones; who goes on speaking is known again at once.
        hosts.execute(HOST, ["python3", "-c", FORGET])
        time.sleep(1.2)
        WAYS[way]()
        trial.resume()
        counts = trial.heard(SECONDS)
    open_ = [name for name in ("tcp-ipv4", "udp-ipv4", "inbound-9100-from-a-neighbour") if counts[name, NEW]]
    assert not open_, f"this way does not isolate: {open_}"
    assert hosts.answers("controller", network.address(HOST), 22)
    matrix.write("others", rows_of(counts, (HOST, way), None))


def test_what_goes_past_every_rule_of_others(way):
    with Past(HOST) as past:
        assert past.void() == [], "what leads nowhere before the isolation proves nothing"
        WAYS[way]()
        counts = past.soon()
    matrix.write("others", [
        {"case": name, "release": HOST, "backend": way, "expected": "reported only", "ways": [LIVE], LIVE: counts[name, LIVE],
         "got": f"{counts[name, LIVE]} {LIVE}" if counts[name, LIVE] else 0, "holds": not counts[name, LIVE]} for name in PAST])
