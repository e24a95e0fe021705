#!/usr/bin/python
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Contain a host: evidence, isolation and termination in one run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: contain
short_description: Take evidence, cut the host off and end the attacker's processes in one run
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Does what M(firebreak.response.snapshot), M(firebreak.response.isolation) and
    M(firebreak.response.suspicious_process) do, interleaved so that the cut comes early and no step runs before the
    evidence that it would destroy is safe.
  - In this order - sockets and a first look at the processes; stop what is strongly suspected; cut; capture the
    suspects; destroy the cut connections; kill; look again; take the rest of the evidence.
  - What the host sends to the peers of suspects is then dropped without an answer, so that what tries again learns nothing; what it
    sends anywhere else is refused at once.
  - The controller then proves over a fresh connection that it still gets in, takes a second look at the processes,
    and brings the evidence home. Without that proof the host takes its isolation back.
  - The verdict is V(contained) only if the rules that the kernel holds are the rules that were meant, no forbidden
    connection is left, the controller got in afresh, no process that should have ended lives, and the evidence
    arrived whole.
extends_documentation_fragment:
  - firebreak.response.options
  - firebreak.response.options.network
  - firebreak.response.options.processes
  - firebreak.response.options.evidence
  - firebreak.response.options.private
attributes:
  check_mode:
    description: Nothing is changed or written; the result says what would be cut, killed and taken.
    support: full
  diff_mode:
    description: Returns the firewall rules and the processes before and after.
    support: full
  idempotent:
    description: A second run changes nothing, though it takes new evidence.
    support: full
options:
  steps:
    description:
      - Which steps to take. Whatever the order here, they run in the order of the description.
    type: list
    elements: str
    choices: [snapshot, isolation, termination]
    default: [snapshot, isolation, termination]
  autonomy:
    description:
      - How far to go against processes that nobody has named. V(report) lists them, V(freeze) stops those with one
        strong sign, V(terminate) also ends those with two signs of different families, one of them strong, and
        their kin.
      - Taken from the inventory variable C(firebreak_autonomy) where the task does not give it.
    type: str
    choices: [report, freeze, terminate]
    default: freeze
seealso:
  - module: firebreak.response.isolation
  - module: firebreak.response.snapshot
  - module: firebreak.response.suspicious_process
"""

EXAMPLES = r"""
- name: Contain the host with the site's policy
  firebreak.response.contain:
    case: INC-42

- name: See what would be cut and killed
  firebreak.response.contain:
    case: INC-42
    autonomy: terminate
  check_mode: true

- name: Cut off and take evidence, leave the processes alone
  firebreak.response.contain:
    case: INC-42
    steps: [snapshot, isolation]
    allow:
      - 10.0.0.5 514/udp
      - 10.0.0.6 9100/tcp in
"""

RETURN = r"""
verdict:
  description:
    - V(contained), V(partial), V(failed) or V(unknown), and with O(mode=observe) V(reported) instead of V(contained); in check mode the
      word that is hoped for after C(would_be).
  type: str
  returned: always
  sample: contained
reasons:
  description: Why the verdict is not V(contained), a sentence each.
  type: list
  elements: str
  returned: always
  sample: []
steps:
  description:
    - The result of each step, by its name, with the keys that the step's own module documents. V(snapshot) always has
      one outside check mode, since what the other steps destroy is taken whatever the steps are.
  type: dict
  returned: when the host was reached
preflight:
  description: Why the host was refused, in the form of C(preflight) of M(firebreak.response.isolation).
  type: list
  elements: dict
  returned: when a risk that O(accept_risks) does not name stood against the isolation
rolled_back:
  description: The host has taken the isolation back, since nobody confirmed it in time.
  type: bool
  returned: when it has
timeline:
  description: Seconds from the start of the module to the end of each step on the host.
  type: list
  elements: dict
  returned: always
  contains:
    step:
      description: What was done by then.
      type: str
      sample: ruleset in force
    at:
      description: Seconds since the start of the module.
      type: float
      sample: 0.061
import_seconds:
  description: Processor seconds that Python took to start and to import before the module's clock began.
  type: float
  returned: always
session_seconds:
  description: Seconds from the start of the SSH session to the start of the module; null where there is no session.
  type: float
  returned: always
evidence:
  description: The bundle, verified on arrival; C(path) is where it lies on the controller.
  type: dict
  returned: when the host was reached and this is not check mode
diff:
  description: Firewall rules and processes before and after.
  type: list
  elements: dict
  returned: in diff mode
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
  sample: {first_run: 2.1, second_run: 3.6, total: 6.2}
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

import gc

gc.disable()  # a life of a second: looking for garbage would cost a tenth of what the imports do

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.module_utils import _contain
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline


def main() -> None:
    """The edge: options in, result out."""
    timeline = Timeline()
    gc.freeze()  # nor at the end
    module = AnsibleModule(
        argument_spec=arguments.merge(
            arguments.CASE, arguments.STEPS, arguments.NETWORK, arguments.PROCESSES, arguments.EVIDENCE,
            arguments.AUTONOMY, arguments.PRIVATE,
        ),
        supports_check_mode=True,
    )
    try:
        result = _contain.run(module.params, module.check_mode, module._diff, timeline)
    except FirebreakError as error:
        module.fail_json(msg=str(error), verdict="failed", reasons=error.reasons, **error.facts)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
