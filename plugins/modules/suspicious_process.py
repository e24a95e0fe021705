#!/usr/bin/python
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find, freeze and end suspicious processes; give back what was stopped or disabled."""

from __future__ import annotations

DOCUMENTATION = r"""
module: suspicious_process
short_description: Find, stop and end the attacker's processes
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Looks at every process by rules, each with a grade (strong, medium, weak) and a family (origin, identity, network,
    behaviour, hiding).
  - Stopping wants one strong sign. Ending wants a strong sign and another strong or medium one of B(another family);
    or one strong or medium sign and kinship with a process that is being ended (its parent or child, the same program,
    what starts it again); or the operator's word in O(pids).
  - Targets are stopped in rounds until nothing of their kind starts any more, so that programs that start each other
    anew cannot. Then what dies with them is captured and made safe, cron entries that would start them again are
    disabled, start time, program and rule are compared once more, and they are killed through a handle (pidfd) that
    cannot change hands. What lives on or comes back is named.
  - A process of which the evidence could not be taken stays stopped and is not killed, unless the operator named it. Of
    a program beyond 64 MiB so much is taken; that counts, and is said.
  - Never touched are our own session, kernel threads, process 1, the SSH server and the services in
    O(critical_services); parts of the system (systemd, D-Bus, cron, the log, container runtimes) only where
    the operator names them. Every hit that is spared is reported with the reason.
extends_documentation_fragment:
  - firebreak.response.options
  - firebreak.response.options.processes
  - firebreak.response.options.private
attributes:
  check_mode:
    description: Nothing is changed or written; the result says what would be stopped, ended, disabled or given back.
    support: full
  diff_mode:
    description: Returns the targets before and after.
    support: full
  idempotent:
    description: A second run changes nothing, unless something came back.
    support: full
options:
  state:
    description:
      - V(reported) lists findings. V(frozen) stops those with one strong sign. V(terminated) also ends those with signs
        of two families, and their kin; it is the operator's own word and asks for no C(firebreak_autonomy).
      - V(released) lets go on what this case has stopped, and gives back what it has disabled, byte for byte.
    type: str
    choices: [reported, frozen, terminated, released]
    default: reported
notes:
  - Needs root on the host.
  - A stopped process stays stopped until it is released. systemd ends and restarts a unit with a watchdog that is stopped.
seealso:
  - module: firebreak.response.contain
  - module: firebreak.response.snapshot
"""

EXAMPLES = r"""
- name: List what is suspicious
  firebreak.response.suspicious_process:
    case: INC-42

- name: See who would be killed
  firebreak.response.suspicious_process:
    case: INC-42
    state: terminated
  check_mode: true

- name: End what two signs speak against, and process 4711 whatever speaks for it
  firebreak.response.suspicious_process:
    case: INC-42
    state: terminated
    pids: [4711]
    critical_services: [postgresql]

- name: Let go on what was stopped, and give back what was disabled
  firebreak.response.suspicious_process:
    case: INC-42
    state: released
"""

RETURN = r"""
verdict:
  description:
    - V(contained), V(partial), V(failed) or V(unknown); V(reported) and V(released) for these states; in check mode the
      word that is hoped for after C(would_be).
    - V(contained) means that every process that should have been stopped or ended is, now and at the second look, and
      that nothing came back.
  type: str
  returned: always
  sample: contained
reasons:
  description: Why the verdict is not the one hoped for, a sentence each.
  type: list
  elements: str
  returned: always
  sample: []
findings:
  description: Processes with a strong or medium sign, those named, and what a process that is to end has started; worst first, at most 200.
  type: list
  elements: dict
  returned: always
  contains:
    pid:
      description: Process number.
      type: int
      sample: 4711
    start:
      description: Start time in ticks since boot; with the number it names one process.
      type: int
      sample: 181234
    name:
      description: Name of the process (comm).
      type: str
      sample: xmrig
    exe:
      description: Program, as the kernel says it.
      type: str
      sample: /tmp/.m/xmrig (deleted)
    command_line:
      description: Arguments, at most 512 characters.
      type: str
      sample: xmrig -o stratum+tcp://pool.example:3333
    user:
      description: Number of the effective user.
      type: int
      sample: 33
    state:
      description: State letter at the first look.
      type: str
      sample: S
    since:
      description: When it was started, by the host's clock.
      type: str
      sample: "2026-11-24T04:27:51Z"
    parent:
      description: C(pid), C(name) and C(exe) of its parent.
      type: dict
    unit:
      description: Innermost systemd unit that it belongs to.
      type: str
      sample: cron.service
    peers:
      description: Remote ends of its connections.
      type: list
      elements: str
      sample: ["tcp 203.0.113.5:3333"]
    rules:
      description: Rules that match, with C(id), C(title), C(grade), C(family), C(attack) and C(falsepositives).
      type: list
      elements: dict
    level:
      description: What its signs allow - V(report), V(freeze) or V(terminate).
      type: str
      sample: terminate
    action:
      description: What was to be done about it, after O(state) and the reasons to spare it.
      type: str
      sample: terminate
    named:
      description: Whether the operator named it.
      type: bool
      sample: false
    kin_of:
      description: Number of the process whose kin it is, or null.
      type: int
    kinship:
      description: How it is kin.
      type: str
      sample: same folder
    spared:
      description: Why it is left alone, or null.
      type: str
    captured:
      description: V(complete), V(partial), V(failed), or empty where nothing was captured.
      type: str
      sample: complete
    outcome:
      description:
        - V(terminated), V(gone) (ended by itself), V(pending) (killed, not dead yet), V(kept) (its evidence could not be taken),
          V(changed) (became another program), or empty.
      type: str
      sample: terminated
    why:
      description: One sentence - what, why, since when, started by whom, talking to whom.
      type: str
terminated:
  description: Processes that were ended; in check mode, that would be. C(pid), C(start), C(name), C(exe), C(command_line).
  type: list
  elements: dict
  returned: always
frozen:
  description: Processes that stand still now; in check mode, that would.
  type: list
  elements: dict
  returned: always
survivors:
  description: What lives though it should not, with C(state) and C(why), which names who started it again.
  type: list
  elements: dict
  returned: always
spared:
  description: Hits that were left alone, and C(why).
  type: list
  elements: dict
  returned: always
disabled:
  description: Cron tables (C(file)) and their C(lines) that were commented out; in check mode, that would be.
  type: list
  elements: dict
  returned: when O(state) is not V(released)
not_disabled:
  description: Cron tables that should have been changed and could not be, and C(why).
  type: list
  elements: dict
  returned: when there are any
omitted:
  description: How many findings are beyond the 200 that are listed.
  type: int
  returned: when O(state) is not V(released)
thawed:
  description: Processes that go on.
  type: list
  elements: dict
  returned: when O(state) is V(released)
restored:
  description: Cron tables that were given back.
  type: list
  elements: dict
  returned: when O(state) is V(released)
not_restored:
  description: Cron tables that were not given back, and C(why).
  type: list
  elements: dict
  returned: when O(state) is V(released)
missing:
  description: What of the evidence could not be taken.
  type: list
  elements: dict
  returned: when something is missing
diff:
  description: The targets before and after.
  type: dict
  returned: in diff mode
timeline:
  description: Seconds from the start of the module to the end of each step on the host.
  type: list
  elements: dict
  returned: always
  contains:
    step:
      description: What was done by then.
      type: str
      sample: last suspect dead
    at:
      description: Seconds since the start of the module.
      type: float
      sample: 0.081
evidence:
  description: The bundle, verified on arrival; C(path) is where it lies on the controller.
  type: dict
  returned: when something was captured
ledger:
  description: The checkpoint of the case's ledger C(path), C(count) records with the hash C(head).
  type: dict
  returned: when something was recorded
not_covered:
  description: What this version does not look at or close.
  type: list
  elements: str
  returned: always
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
  sample: {first_run: 1.3, second_run: 3.5, total: 5.0}
refused:
  description: Nothing was done, no connection was made - an option, a variable, a brake or the case folder stood against it.
  type: bool
  returned: when refused before the connection
  sample: true
msg:
  description: The host and how it ended, on one line; where it was refused, why. Nothing in it is a word of the host.
  type: str
  returned: always
  sample: "web07: reported"
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._processes._run import run
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline


def main() -> None:
    """The edge: options in, result out."""
    timeline = Timeline()
    module = AnsibleModule(
        argument_spec=arguments.merge(arguments.CASE, arguments.PROCESS_STATE, arguments.PROCESSES, arguments.PRIVATE),
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode, module._diff, timeline)
    except FirebreakError as error:
        module.fail_json(msg=str(error), verdict="failed", reasons=[str(error)])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
