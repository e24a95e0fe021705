# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the gates of noxfile.py one after the other, and say at the end how each went.

usage: python -m tests.tools.gates [--all] [GATE...]
Goes on after a failure; the last line reads `N passed, N failed`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

# Quick ones first: whoever waits learns early.
GATES = (
    "shellcheck", "compat", "contract", "types", "units", "docs", "changelog", "lint", "kernel", "sanity", "import", "lab",
)


def main(arguments: list[str]) -> int:
    """Exit code: 0 if all passed, 1 if any failed, 2 if a gate is unknown."""
    everything = "--all" in arguments
    chosen = [name for name in arguments if name != "--all"] or list(GATES)
    strange = [name for name in chosen if name not in GATES]
    if strange:
        sys.stderr.write("no such gate: {0}; there are {1}\n".format(", ".join(strange), ", ".join(GATES)))
        return 2
    environment = dict(os.environ, FIREBREAK_ALL="1" if everything else "")
    lines = []
    failed = 0
    for name in chosen:
        sys.stdout.write(f"\n=== {name}\n")
        sys.stdout.flush()
        begin = time.monotonic()
        command = [sys.executable, "-m", "nox", "--non-interactive", "-f", "noxfile.py", "-s", name]
        code = subprocess.run(command, env=environment, check=False).returncode
        failed += code != 0
        lines.append("{0:<6} {1:<12} {2:7.1f} s".format("failed" if code else "passed", name, time.monotonic() - begin))
        sys.stdout.write(lines[-1] + "\n")
    sys.stdout.write("\n" + "\n".join(lines) + f"\n{len(chosen) - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
