#!/usr/bin/python
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find suspicious processes, stop them, end them, give them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: suspicious_process
short_description: Find, stop and end an attacker's processes
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Judges every process by the shipped rules. Each rule has a grade and a family; a process is stopped on one strong
    sign, and ended on two signs of different families of which one is strong, on a sign and kinship with a process
    that is being ended, or on the operator's word.
  - Stops in rounds until nothing new appears, captures what the processes hold, comments out cron entries that would
    start them again, ends them through process descriptors after a second comparison, and looks again later.
  - Our own session, process 1, kernel threads, the SSH server, parts of the system and critical services are spared;
    what was spared is listed with the reason.
extends_documentation_fragment:
  - firebreak.response.options
  - firebreak.response.options.processes
  - firebreak.response.options.private
attributes:
  check_mode:
    description: Nothing is touched; the result says who would be stopped and ended and what would be disabled.
    support: full
  diff_mode:
    description: Returns the suspects before and after.
    support: full
  idempotent:
    description: A second run changes nothing, unless the suspects came back.
    support: full
options:
  state:
    description:
      - V(reported) lists, V(frozen) stops, V(terminated) ends, V(released) thaws what was frozen and gives back what
        was disabled.
    type: str
    choices: [reported, frozen, terminated, released]
    default: reported
seealso:
  - module: firebreak.response.contain
  - module: firebreak.response.isolation
"""

EXAMPLES = r"""
- name: Who looks suspicious?
  firebreak.response.suspicious_process:
    case: INC-42

- name: End them, and process 4711 on the operator's word
  firebreak.response.suspicious_process:
    case: INC-42
    state: terminated
    pids: [4711]

- name: Thaw what was frozen and give back what was disabled
  firebreak.response.suspicious_process:
    case: INC-42
    state: released
"""

RETURN = r"""
verdict:
  description:
    - V(contained), V(partial), V(failed), V(unknown), V(reported) or V(released); in check mode the word that is hoped
      for after C(would_be).
  type: str
  returned: always
  sample: contained
reasons:
  description: Why the verdict is not better, a sentence each.
  type: list
  elements: str
  returned: always
  sample: []
findings:
  description: Processes that a rule or the operator names, at most 200, with C(pid), C(exe), C(cmdline), C(rules), C(action).
  type: list
  elements: dict
  returned: unless released
terminated:
  description: Findings that were ended, or would be in check mode.
  type: list
  elements: dict
  returned: unless released
frozen:
  description: Findings that are stopped, or would be in check mode.
  type: list
  elements: dict
  returned: unless released
survivors:
  description: Findings that should be dead and are not, with their C(state).
  type: list
  elements: dict
  returned: unless released
spared:
  description: Findings that were left alone, and C(why).
  type: list
  elements: dict
  returned: unless released
disabled:
  description: Cron tables in which entries were commented out, or would be in check mode.
  type: list
  elements: dict
  returned: unless released
thawed:
  description: Processes that run again.
  type: list
  elements: dict
  returned: when released
restored:
  description: What was given back.
  type: list
  elements: dict
  returned: when released
evidence:
  description: The bundle with what the suspects held, verified on arrival; C(path) is where it lies on the controller.
  type: dict
  returned: when something was stopped or ended
diff:
  description: The suspects before and after.
  type: dict
  returned: in diff mode
ledger:
  description: The checkpoint of the case's ledger, C(count) records with the hash C(head).
  type: dict
  returned: when something was recorded
not_covered:
  description: What this version neither closes nor looks at.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._processes import _run


def main() -> None:
    """The edge: options in, result out."""
    module = AnsibleModule(
        argument_spec=arguments.merge(
            arguments.CASE, arguments.PROCESS_STATE, arguments.PROCESSES, arguments.PRIVATE),
        supports_check_mode=True,
    )
    try:
        result = _run.run(module.params, module.check_mode, module._diff)
    except FirebreakError as error:
        module.fail_json(msg=str(error), verdict="failed", reasons=[str(error)])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
