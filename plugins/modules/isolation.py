#!/usr/bin/python
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut a host off the network, and give it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: isolation
short_description: Cut a host off the network but for its responders and its monitoring, and give it back
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Loads firewall rules of its own, for IPv4 and IPv6, that let pass only loopback, the management path and the
    systems in O(allow). What the host's own programs send elsewhere is rejected, what comes in is dropped, nothing is
    forwarded. Tables, chains and rules of others are left as they are and stay in force.
  - The management path is the live SSH connection's peer and port, matched without connection tracking.
  - Before the cut a timer is armed that takes the isolation back after O(confirm_within) seconds. The controller
    disarms it over a fresh connection; the host tells that it is fresh by the peer's source port.
  - Before that, the host is refused where the cut would break or destroy something, unless the operator names that risk in
    O(accept_risks).
  - With O(mode=observe) nothing is cut, and the verdict is V(ignore:reported).
  - Open connections that the rules forbid are listed and ended, so that they do not come back to life at release; so are those of
    the host's containers, and what the kernel tracks of either is deleted.
  - The verdict is V(contained) only if the rules that the kernel holds are the rules that were meant, no forbidden
    connection is left, an attempt to reach a forbidden address fails at once on the host, and the controller got in
    afresh. Where no network lies between controller and host, the proof says so instead of the last.
extends_documentation_fragment:
  - firebreak.response.options
  - firebreak.response.options.network
  - firebreak.response.options.private
attributes:
  check_mode:
    description: Nothing is changed or written; the rules are loaded in a private network and the flows that would be cut are listed.
    support: full
  diff_mode:
    description: Returns the rules of Firebreak before and after, interfaces that go down or up, and when the isolation ends by itself.
    support: full
  idempotent:
    description: A second run with the same policy changes nothing.
    support: full
options:
  state:
    description:
      - V(isolated) cuts the host off; V(released) ends what must not come back to life and removes the rules.
    type: str
    choices: [isolated, released]
    default: isolated
seealso:
  - module: firebreak.response.contain
  - module: firebreak.response.snapshot
  - module: firebreak.response.suspicious_process
"""

EXAMPLES = r"""
- name: Cut the host off, log collection and monitoring excepted
  firebreak.response.isolation:
    case: INC-42
    allow:
      - 10.0.0.5 514/udp
      - 10.0.0.6 9100/tcp in

- name: See the rules and the connections that would be cut
  firebreak.response.isolation:
    case: INC-42
  check_mode: true
  diff: true

- name: Find out what is missing in the list of allowed systems, without cutting anything
  firebreak.response.isolation:
    case: DRILL-7
    mode: observe

- name: Isolate on a suspicion, for four hours at most, and take down every interface but the responders' own
  firebreak.response.isolation:
    case: INC-43
    ttl: 14400
    interfaces_down: true

- name: The suspicion is confirmed, so that the isolation lasts until it is released
  firebreak.response.isolation:
    case: INC-43
    ttl: 0
    interfaces_down: true

- name: Give the host back to the network
  firebreak.response.isolation:
    case: INC-42
    state: released
"""

RETURN = r"""
verdict:
  description:
    - V(contained), V(partial), V(failed), V(unknown) or V(released), and with O(mode=observe) V(reported) instead of V(contained); in
      check mode the word that is hoped for after C(would_be).
  type: str
  returned: always
  sample: contained
reasons:
  description: Why the verdict is not better, a sentence each.
  type: list
  elements: str
  returned: always
  sample: []
proof:
  description: What the verdict rests on; empty after a release, and in check mode but for C(interfaces), where it is asked for.
  type: dict
  returned: always
  contains:
    mode:
      description: How far the cut goes, as O(mode).
      type: str
      sample: full
    ruleset:
      description: Whether the kernel lists the rules exactly as a private network that loaded the same rules does.
      type: bool
      sample: true
    ruleset_against:
      description: What the live rules were compared with, V(private network) or, where the kernel refuses one, V(work folder).
      type: str
      sample: private network
    rollback:
      description: What would take the isolation back, V(systemd timer) or V(process).
      type: str
      sample: systemd timer
    conntrack:
      description:
        - What became of the kernel's entries of tracked connections that the cut forbids, NAT among them, so that none goes on by its
          entry after a release - how many were C(deleted); those that only passed through the host (C(forwarded), at most 100); how many
          sockets of containers at their ends were C(ended), and how many such connections of TCP were C(not_ended), since their ends are
          on other systems, so that they may go on after a release; entries that could not be deleted (C(left)), and those that there was
          no time for (C(not_looked_at)). Null where the host tracks no connections, and with O(mode=observe).
      type: dict
      sample: {deleted: 3, forwarded: ["tcp 172.17.0.2:40112 > 198.51.100.7:4444"], ended: 1, not_ended: 0, left: 0, not_looked_at: 0}
    silent:
      description:
        - Addresses with which suspects had connections at the cut (M(firebreak.response.contain) knows them, at most 64). What the host
          sends there is dropped without an answer, while it is refused at once elsewhere; a program that sends UDP is still told by its
          own kernel.
      type: list
      elements: str
      sample: [198.51.100.7]
    flows_remaining:
      description: Forbidden connections that could not be ended.
      type: int
      sample: 0
    probe:
      description:
        - Attempts to reach documentation addresses of both families, and whether each failed at once; null with O(mode=observe), which
          would let them out.
      type: dict
    management:
      description: Networks and ports of the management path, the live peer and how it was found.
      type: dict
    leases:
      description: Networks from which DHCP servers may answer, because the host has an address for a time only.
      type: list
      elements: str
      sample: [10.0.0.0/24]
    layer2:
      description:
        - How far frames are held back that never meet the IP layer - C(cover), V(egress-hook), V(tc) (packet sockets that go past
          the queue stay open) or V(none), and C(why) not by the egress hook; the C(devices) that are covered; those that are C(open),
          each with why; and the places of XDP and tc C(programs), which can send frames past the rules and make the verdict
          V(partial); as do interfaces C(elsewhere), in other network namespaces, and AF_XDP sockets and tcx programs.
      type: dict
      sample: {cover: egress-hook, why: "", devices: [eth0], open: [], programs: [], elsewhere: []}
    widened:
      description: Whether nobody could confirm at first, and the way in was made wider, as O(on_management_lost) says.
      type: bool
      sample: false
    interfaces:
      description:
        - With O(interfaces_down) - the interfaces that are C(down), those that should be and are C(up), which makes the verdict V(partial),
          and those that were C(kept) up, each with why; else null. In check mode, what it would be.
      type: dict
      sample: {down: [eth1, eth2], up: [], kept: [{device: eth0, why: carries the management session}]}
    ends_at:
      description: UTC time at which the isolation ends by itself, as O(ttl) says; null where it does not.
      type: str
      sample: "2026-11-25T02:14:07Z"
    no_end:
      description: Why it does not, where O(ttl) asks for it and the timer could not be started; else an empty string.
      type: str
      sample: ""
    hold:
      description:
        - What holds the confirmed isolation - the systemd C(unit), or an empty string; whether it outlives a reboot (C(persist)) and
          puts back what others remove (C(watch)); whether a copy of the rules is in a table that belongs to it (C(owner)); and C(why)
          not, where something of it could not be.
      type: dict
      sample: {unit: firebreak-hold-INC-42.service, persist: true, watch: true, owner: true, why: ""}
    confirmed:
      description: Whether the controller got in over a fresh connection; null before it tried.
      type: bool
      sample: true
    confirmation:
      description: How it was confirmed, or why not.
      type: str
      sample: over a fresh connection
rolled_back:
  description: The host has taken the isolation back, since nobody confirmed it in time.
  type: bool
  returned: when it has
residual:
  description:
    - Tables that calls of an C(iptables) of the legacy variant made, and that the kernel keeps until a reboot; no rule of Firebreak is
      left in them.
  type: list
  elements: str
  returned: when the state is released, not in check mode
  sample: [iptables-legacy table mangle of IPv4]
changed_by_others:
  description:
    - Tables of others that are not what they were when the isolation was confirmed, each C(changed), C(new) or C(gone), for instance
      because the host was rebooted. They are left as they are. Elements of sets that have a lifetime do not count.
  type: list
  elements: str
  returned: when the state is released, not in check mode
  sample: ["changed: nftables ip nat"]
flows_cut:
  description: Connections that were ended, or would be in check mode, at most 1000.
  type: list
  elements: dict
  returned: always
  contains:
    protocol:
      description: C(tcp), C(udp), C(udplite) or C(raw).
      type: str
      sample: tcp
    local:
      description: Address and port on the host.
      type: str
      sample: 10.0.0.2:40112
    remote:
      description: Address and port of the peer.
      type: str
      sample: 198.51.100.7:4444
    state:
      description: State of the connection, as the kernel named it.
      type: str
      sample: ESTABLISHED
    pids:
      description: Processes that held it.
      type: list
      elements: int
      sample: [812]
    user:
      description: User that the socket belongs to.
      type: str
      sample: www-data
    name:
      description: Name of the first process.
      type: str
      sample: bash
    exe:
      description: Program of the first process.
      type: str
      sample: /usr/bin/bash
flows_observed:
  description: Connections that would have been ended with O(mode=full), in the form of RV(flows_cut), which is empty then.
  type: list
  elements: dict
  returned: with O(mode=observe)
  sample: []
packets_observed:
  description:
    - Packets that would have been held back, since the rules were loaded - C(inbound), C(outbound) and C(forwarded).
  type: dict
  returned: with O(mode=observe), not in check mode
  sample: {inbound: 12, outbound: 340, forwarded: 0}
backend:
  description: What the rules were loaded with, V(nftables) or V(iptables).
  type: str
  returned: always
  sample: nftables
backend_reason:
  description: Why this backend was taken.
  type: str
  returned: always
  sample: nft is installed and the kernel has nf_tables
diff:
  description:
    - The rules of Firebreak before and after, and interfaces that go down or up; where the rules stay as they are, the unit that holds
      them, if that changes; and when the isolation ends by itself, if that changes.
  type: dict
  returned: in diff mode
preflight:
  description:
    - What the cut breaks or would break on this host, whether accepted or not; also what could not be looked at.
  type: list
  elements: dict
  returned: when the state is isolated
  contains:
    risk:
      description: One of the choices of O(accept_risks), or V(unknown).
      type: str
      sample: directory-logins
    refuses:
      description: Whether it refuses a host unless O(accept_risks) names it; else it is a warning.
      type: bool
      sample: false
    what:
      description: What happens, one sentence.
      type: str
      sample: users come from a directory too (sss); the user of this run is local
    instead:
      description: What to do or to allow instead.
      type: str
      sample: allow the directory where others must get in
drift:
  description:
    - What others did to the rules since the isolation was confirmed. The verdict speaks of now; this says whether it was always so.
      A release gives it a last time, before it takes away the unit that has noted it.
  type: list
  elements: dict
  returned: not in check mode
  contains:
    at:
      description: UTC time at which it was put back; an empty string where this very run found it.
      type: str
      sample: "2026-11-24T02:14:07Z"
    what:
      description: What was found.
      type: str
      sample: the rules had been changed or removed; they are put back
not_covered:
  description: What this version neither closes nor looks at.
  type: list
  elements: str
  returned: always
ledger:
  description: The checkpoint of the case's ledger C(path), C(count) records with the hash C(head).
  type: dict
  returned: when something was recorded
case:
  description: Name of the case, as the controller read it.
  type: str
  returned: unless it was refused
  sample: INC-42
seconds:
  description:
    - Seconds on the controller, by what they went into - C(first_run), C(second_run) and C(evidence), each with the way there
      and back, and C(total).
  type: dict
  returned: unless it was refused; C(total) not in check mode
  sample: {first_run: 1.2, second_run: 0.9, total: 2.4}
refused:
  description: Nothing was done, no connection was made - an option, a variable, a brake or the case folder stood against it.
  type: bool
  returned: when refused before the connection
  sample: true
msg:
  description: The host and how it ended, on one line; where it was refused, why. Nothing in it is a word of the host.
  type: str
  returned: always
  sample: "web07: contained"
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _run


def main() -> None:
    """The edge: options in, result out."""
    module = AnsibleModule(
        argument_spec=arguments.merge(
            arguments.CASE, arguments.ISOLATION_STATE, arguments.NETWORK, arguments.PRIVATE),
        supports_check_mode=True,
    )
    try:
        result = _run.run(module.params, module.check_mode, module._diff)
    except FirebreakError as error:
        module.fail_json(msg=str(error), verdict="failed", reasons=error.reasons, **error.facts)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
