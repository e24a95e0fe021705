# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the gates one after another, a line each as they end, all of them though one fails; then the screen of result.

usage: gates.py [--all] [GATE…]. Each gate is a nox session and runs alone too: `nox -s NAME`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

GATES = ("shellcheck", "compat", "types", "contract", "units", "oldest", "kernel", "changelog", "docs", "lint", "import",
         "sanity", "lab")
OUTPUT = Path("tests/output")
LIMIT = 2400  # seconds a gate may take


def run(gate: str, more: list[str]) -> tuple[bool, float]:
    """One gate, its output in a file of its own and on the screen where it fails."""
    began = time.monotonic()
    log = OUTPUT / f"gate-{gate}.log"
    with log.open("wb") as out:
        try:
            status = subprocess.run([sys.executable, "-m", "nox", "-s", gate, "--", *more], stdin=subprocess.DEVNULL,
                                    stdout=out, stderr=subprocess.STDOUT, check=False, timeout=LIMIT).returncode
        except subprocess.TimeoutExpired:
            status = 124
    seconds = time.monotonic() - began
    print(f"{'passed' if status == 0 else 'FAILED'}  {gate:12} {seconds:6.1f} s", flush=True)
    if status:
        print(log.read_text(encoding="utf-8", errors="replace")[-20000:], flush=True)
    return status == 0, seconds


def main(arguments: list[str]) -> int:
    """Exit status 0 where every gate passed."""
    more = [word for word in arguments if word.startswith("--")]
    asked = [word for word in arguments if not word.startswith("--")] or list(GATES)
    unknown = sorted(set(asked) - set(GATES))
    if unknown:
        print(f"no such gate: {', '.join(unknown)}; there are: {', '.join(GATES)}")
        return 2
    OUTPUT.mkdir(parents=True, exist_ok=True)
    results = {gate: run(gate, more) for gate in asked}
    failed = [gate for gate, (passed, _seconds) in results.items() if not passed]
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'every gate passed'}; output in {OUTPUT}/gate-*.log "
          f"of {os.environ.get('FIREBREAK_CHECKOUT', Path.cwd())}")
    print(f"{len(asked) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
