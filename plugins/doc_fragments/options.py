# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the options that several modules share, one part for each part of `module_utils/_arguments.py`."""

from __future__ import annotations


class ModuleDocFragment:
    """Parts: the case (plain), C(network), C(processes), C(evidence)."""

    DOCUMENTATION = r"""
options:
  case:
    description:
      - Name of the incident; the case folder on the controller and the work folder on the host carry it.
      - 1 to 64 of C(A-Z a-z 0-9 . _ -), not beginning with C(.) or C(-).
      - Taken from the inventory variable C(firebreak_case) where the task does not give it.
    type: str
    required: true
"""

    NETWORK = r"""
options:
  allow:
    description:
      - Systems that go on talking with the host, for instance monitoring and log collection.
      - Each entry reads C(ADDRESS[/PREFIX] PORT/PROTOCOL [in]), for instance C(10.0.0.5 514/udp),
        C(siem.example.com 6514/tcp), C(2001:db8::/64 9100/tcp in) or C(10.0.0.5 icmp).
        Without C(in) the host speaks first; with it the other side does.
      - Names are resolved on the controller, never on the host.
      - A host that has its address for a time only (DHCP) may ask the servers on its own link for it; an entry such as
        C(10.0.0.1 67/udp) names the only one that may answer.
      - Taken from the inventory variable C(firebreak_monitoring_systems) where the task does not give it.
    type: list
    elements: str
    default: []
  management:
    description:
      - Addresses or networks that reach the host's SSH port B(instead of) the live connection's peer.
      - If the list is wrong, the host gives access back by itself after O(confirm_within) seconds, as O(on_management_lost) says.
        Check mode tells beforehand.
      - Taken from the inventory variable C(firebreak_management) where the task does not give it.
    type: list
    elements: str
    default: []
  management_networks:
    description:
      - Addresses or networks that reach the host's SSH port in addition to the live connection's peer.
      - Taken from the inventory variable C(firebreak_management_networks) where the task does not give it.
    type: list
    elements: str
    default: []
  mode:
    description:
      - How far the cut goes. A change of mode is one atomic replacement of the rules.
      - V(full) lets nothing in or out but what is allowed.
      - V(egress) holds back what leaves, answers to callers among it, and what the host would forward. What comes in still reaches the
        host's programs, so that it can be watched, and an attacker's orders too; RV(ignore:not_covered) says so.
      - V(observe) holds nothing back and ends no connection. What V(full) would cut is counted, and logged by the kernel, at most five
        lines a second for each direction. The verdict is V(ignore:reported), never V(ignore:contained), and neither O(persist) nor
        O(watch) apply.
      - Taken from the inventory variable C(firebreak_mode) where the task does not give it.
    type: str
    choices: [full, egress, observe]
    default: full
  backend:
    description:
      - What loads the rules. V(auto) takes V(nftables) where the host has a working C(nft), else V(iptables),
        and the result says which and why.
      - Taken from the inventory variable C(firebreak_backend) where the task does not give it.
    type: str
    choices: [auto, iptables, nftables]
    default: auto
  layer2:
    description:
      - Whether frames that never meet the IP layer, such as those of packet sockets, are held back too. V(auto) does it by nft where
        Linux (5.16 or later) and nft (1.0.1 or later) know the egress hook, else by programs that C(tc) holds at each interface
        (qdisc C(clsact), preference 1, handle 0xf12eb), and the result says how far.
      - What C(tc) holds back leaves a way open, packet sockets that go past the queue (QDISC_BYPASS). V(required) demands the egress
        hook, and refuses the host before anything is changed where not every interface can be covered by it.
      - Taken from the inventory variable C(firebreak_layer2) where the task does not give it.
    type: str
    choices: [auto, required]
    default: auto
  accept_risks:
    description:
      - Risks of an isolation that are taken on purpose. Without its name here, each of them refuses the host before anything is
        changed, in check mode too. A host that is isolated already is not refused.
      - V(network-root) - root, /usr, /var, the homes or swap come over the network (NFS, SMB, Ceph, iSCSI, NVMe-oF, RBD, NBD, DRBD)
        and would hang.
      - V(cluster-fencing) - a cluster would take the host for dead, and take over from it, reset or replace it.
      - V(virtual-machines) - guests hang on a bridge of the host; they lose the network or stay reachable past the isolation.
      - V(tunnelled-management) - the management session comes through a tunnel, whose outer packets would be cut.
      - V(management-link) - the management session comes over a bond, team, VLAN, MACsec or PPP interface; it refuses only with
        O(layer2=required).
      - V(directory-logins) - logins ask a directory over the network, and the user of the run is not in the host's /etc/passwd.
      - Taken from the inventory variable C(firebreak_accept_risks) where the task does not give it.
    type: list
    elements: str
    choices: [network-root, cluster-fencing, virtual-machines, tunnelled-management, management-link, directory-logins]
    default: []
  interfaces_down:
    description:
      - Whether interfaces are taken down too, once the cut is made and the evidence that goes with them is safe. Loopback stays up, and the
        interface that the management session comes in by, with all that it is built on (a bridge's ports, a bond's members, a VLAN's
        parent), and every interface over which, by the host's rules and routes, one of O(management), O(management_networks) or O(allow)
        is reached. RV(ignore:proof.interfaces) names both kinds.
      - A release, or the host itself where nobody confirms, takes up what was up, and gives back what the kernel forgets of an interface
        that is down - addresses, routes of all tables, next hops, permanent neighbours, and rules that speak of them. What routers announce
        and temporary addresses are not given back, for they come by themselves.
      - While O(watch) is in force, an interface that is taken up again is taken down within five seconds, after a reboot too. Interfaces
        that are added later are taken down by the next run.
      - Refused before anything is changed where no SSH session tells which interface carries management, where its address and the way to
        its peer are not at the same interface, and where the host has no C(ip).
      - Nothing is taken down with O(mode=observe).
      - Taken from the inventory variable C(firebreak_interfaces_down) where the task does not give it.
    type: bool
    default: false
  confirm_within:
    description:
      - Seconds, from 5 to 3600, after which the host does what O(on_management_lost) says, unless the controller has proved over a
        fresh connection that it still gets in.
      - Taken from the inventory variable C(firebreak_confirm_within) where the task does not give it.
    type: int
    default: 60
  on_management_lost:
    description:
      - What the host does when nobody has confirmed in time. V(widen) first opens SSH to the address that began the run too,
        where O(management) left it out, with everything else still cut; after a second interval of the same length, of 30 seconds
        at least, O(then) follows. V(release) gives the whole network back at once.
      - With V(widen), a host at which connections of the responder arrive and come to nothing stays isolated and says C(access
        sabotaged) in its journal. Whoever can break sshd must not gain the network by it.
      - Whatever was stopped by a run that did not end goes on.
      - Taken from the inventory variable C(firebreak_on_management_lost) where the task does not give it.
    type: str
    choices: [widen, release]
    default: widen
  then:
    description:
      - What follows where the wider way in brought no confirmation either, or where there was nothing to widen. V(release) gives
        the network back, V(hold) leaves the host isolated. Without a meaning where O(on_management_lost=release).
      - Taken from the inventory variable C(firebreak_then) where the task does not give it.
    type: str
    choices: [release, hold]
    default: release
  persist:
    description:
      - Whether a confirmed isolation is there again after a reboot, before the network is. A systemd unit and rule files in the
        root-only work folder do it; a release takes them away.
      - Where the host is not run by systemd, RV(ignore:not_covered) says so.
      - Taken from the inventory variable C(firebreak_persist) where the task does not give it.
    type: bool
    default: true
  watch:
    description:
      - Whether the same unit puts back what others change or remove of the rules, and covers interfaces that are added, within five
        seconds. Where nft (1.0 or later) knows tables with an owner, it holds a second copy of the rules in one, which nobody else
        can flush or delete, so that nothing passes in between.
      - What was put back is in the host's journal and in RV(ignore:drift).
      - Taken from the inventory variable C(firebreak_watch) where the task does not give it.
    type: bool
    default: true
  ttl:
    description:
      - Seconds, from 60 to 2592000, after which a confirmed isolation ends by itself, over a reboot too; for isolations that are begun
        on a suspicion and that perhaps nobody takes up. Without it, an isolation lasts until it is released.
      - A systemd timer of the host starts what a release does, as far as the host can do it without the controller - forbidden TCP
        connections are ended by C(ss) where the host has it and the policy has at most 200 entries, the unit that holds the rules and
        the rules are removed, interfaces that were taken down come back, and the journal and the next result say so. Sockets of other
        protocols are not ended, and what was stopped or changed of processes and cron tables stays so until it is released.
      - A run with another number, or without one, replaces the deadline; the same number leaves it as it is. A new policy is confirmed
        anew, and its time begins with that. RV(ignore:proof.ends_at) says when it is over. V(0) is the same as none, for a run that is
        to lift a time that the inventory gives.
      - With O(mode=observe) the counting and logging ends then, and no connection is ended.
      - One script of Firebreak stays in the root-only work folder for it. Refused where the host is not run by systemd.
      - Taken from the inventory variable C(firebreak_ttl) where the task does not give it.
    type: int
"""

    PROCESSES = r"""
options:
  pids:
    description:
      - Processes named by the operator. They are dealt with though no rule matches.
      - Our own ancestors, kernel threads, process 1 and critical services stay spared.
    type: list
    elements: int
    default: []
  spare:
    description:
      - Programs that are left alone, by the absolute path of their executable.
      - Taken from the inventory variable C(firebreak_spare) where the task does not give it.
    type: list
    elements: str
    default: []
  critical_services:
    description:
      - Names of systemd units whose processes are never stopped or killed, with or without C(.service).
      - Taken from the inventory variable C(firebreak_critical_services) where the task does not give it.
    type: list
    elements: str
    default: []
  second_look:
    description:
      - Seconds between the last kill and the second look for what came back, up to 600. What cron starts again
        needs more than 60. With V(0) no second look is taken, which the result says.
      - Taken from the inventory variable C(firebreak_second_look) where the task does not give it.
    type: int
    default: 3
"""

    EVIDENCE = r"""
options:
  tier:
    description:
      - How much is taken. V(volatile) is what isolation, a kill or a reboot would destroy.
    type: str
    choices: [volatile]
    default: volatile
  max_bytes:
    description:
      - The most that is read into the bundle. What does not fit is listed as missing.
    type: int
    default: 268435456
  max_seconds:
    description:
      - The longest that collecting may take. What is not done by then is listed as missing.
    type: int
    default: 30
"""

    PRIVATE = r"""
options:
  _phase:
    description: Set by the action plugin; not for playbooks. Which of the round trips this is.
    type: str
    choices: [apply, finish, fetch]
    default: apply
  _transport:
    description: Set by the action plugin; not for playbooks. Name of the connection plugin.
    type: str
    default: ssh
  _received:
    description: Set by the action plugin; not for playbooks. Evidence that has arrived and was verified.
    type: dict
    default: {}
  _piece:
    description: Set by the action plugin; not for playbooks. Which piece of a bundle to return.
    type: dict
    default: {}
  _checkpoint:
    description: Set by the action plugin; not for playbooks. The ledger's checkpoint, for the host's journal.
    type: str
    default: ""
"""
