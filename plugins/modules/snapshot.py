#!/usr/bin/python
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take evidence of a live host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Take evidence of a live host into a hashed bundle
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Reads what isolation, a kill or a reboot would destroy straight from the kernel, most volatile first - sockets with
    their owners, processes, addresses, routes and neighbours, firewall rules, deleted files that are open or run,
    logins, kernel modules, mounts, clock and kernel state, and the SHA-256 of every running file.
  - Writes one bundle, a C(tar.gz) in the folder layout of UAC, hashed while it is written, mode C(0600) in the host's
    root-only work folder, with a manifest that names the source, size, hash and time of every member.
  - The bundle is brought to the case folder on the controller, hashed again there, and removed from the host only
    after its hash was found equal.
  - Programs of the host are run only where the kernel offers no other way (C(nft), C(iptables-save)); the manifest
    has their command line, path and hash.
extends_documentation_fragment:
  - firebreak.response.options
  - firebreak.response.options.evidence
  - firebreak.response.options.private
attributes:
  check_mode:
    description: Everything is read as otherwise, nothing is written; the result says what would be taken.
    support: full
  diff_mode:
    description: A reading has no before and after.
    support: none
  idempotent:
    description: It changes nothing, but each run takes new evidence.
    support: full
notes:
  - Needs root on the host.
seealso:
  - module: firebreak.response.contain
"""

EXAMPLES = r"""
- name: Take the volatile tier
  firebreak.response.snapshot:
    case: INC-42

- name: Take what fits into 16 MiB and 5 seconds
  firebreak.response.snapshot:
    case: INC-42
    max_bytes: 16777216
    max_seconds: 5

- name: See what would be taken
  firebreak.response.snapshot:
    case: INC-42
  check_mode: true
"""

RETURN = r"""
outcome:
  description:
    - V(complete), or V(partial) where anything is missing, cut or timed out; V(failed) where the module failed, V(unknown) where
      the host was not reached; in check mode after C(would_be).
  type: str
  returned: always
  sample: complete
reasons:
  description: Why the outcome is not V(complete), a sentence each.
  type: list
  elements: str
  returned: always
  sample: []
bundle:
  description: Name of the bundle; null in check mode.
  type: str
  returned: always
  sample: 20261124T042751.123Z-volatile.tar.gz
manifest:
  description: Name of the bundle's manifest; null in check mode.
  type: str
  returned: always
  sample: 20261124T042751.123Z-volatile.manifest.json
coverage:
  description:
    - For each collector its C(outcome) (V(complete), V(partial) or V(missing)), C(bytes) before compression, C(members),
      C(seconds), and whether it runs a C(command) of the host.
  type: dict
  returned: always
  sample:
    sockets: {outcome: complete, bytes: 20480, members: 9, seconds: 0.012, command: false}
missing:
  description: What could not be taken.
  type: list
  elements: dict
  returned: always
  contains:
    collector:
      description: Which collector should have taken it.
      type: str
      sample: firewall
    why:
      description: Why it is missing or not whole.
      type: str
      sample: took too long
summary:
  description: C(counts) by kind, and up to 50 C(notable) things (10 of a kind) that an analyst should see first; texts are escaped.
  type: dict
  returned: always
  sample: {counts: {processes: 112, sockets: 14}, notable: [{what: runs from a deleted file, pid: 4711}]}
timeline:
  description: Seconds from the start of the module to the end of each step on the host.
  type: list
  elements: dict
  returned: always
  contains:
    step:
      description: What was done by then.
      type: str
      sample: volatile tier safe
    at:
      description: Seconds since the start of the module.
      type: float
      sample: 0.12
evidence:
  description: The bundle, verified on arrival; C(path) is where it lies on the controller. In check mode its names are null.
  type: dict
  returned: always
ledger:
  description: The checkpoint of the case's ledger C(path), C(count) records with the hash C(head).
  type: dict
  returned: when something was recorded
not_covered:
  description: What this version does not take.
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
  sample: {first_run: 2.1, second_run: 0.6, total: 2.9}
refused:
  description: Nothing was done, no connection was made - an option, a variable, a brake or the case folder stood against it.
  type: bool
  returned: when refused before the connection
  sample: true
msg:
  description: The host and how it ended, on one line; where it was refused, why. Nothing in it is a word of the host.
  type: str
  returned: always
  sample: "web07: complete"
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._evidence._run import run
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline


def main() -> None:
    """The edge: options in, result out."""
    timeline = Timeline()
    module = AnsibleModule(
        argument_spec=arguments.merge(arguments.CASE, arguments.EVIDENCE, arguments.PRIVATE),
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode, timeline)
    except FirebreakError as error:
        module.fail_json(msg=str(error), outcome="failed")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
