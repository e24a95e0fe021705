# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every matrix shares: which cells to run, and the file of its cases."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.lab import hosts

BACKENDS = ("nftables", "iptables")
OUTPUT = Path("tests/output")


def cells() -> list[tuple[str, str]]:
    """(release, backend): the newest release with nftables, and another one each day; all of them with FIREBREAK_ALL set."""
    first, *rest = [(host, backend) for host in hosts.HOSTS for backend in BACKENDS]
    if os.environ.get("FIREBREAK_ALL"):
        return [first, *rest]
    return [first, rest[int(time.time() // 86400) % len(rest)]]


def one() -> list[tuple[str, str]]:
    """Another (release, backend) each day, for what is the same on all of them; all of them with FIREBREAK_ALL set."""
    return cells() if os.environ.get("FIREBREAK_ALL") else cells()[1:]


def write(name: str, rows: list[dict[str, object]]) -> None:
    """Put the cases into `matrix-NAME.json`: {case, release, backend, expected, got, holds}; the same cases of an earlier run go."""
    path = OUTPUT / f"matrix-{name}.json"
    done = {(row["case"], row["release"], row["backend"]) for row in rows}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    every = [row for row in kept if (row["case"], row["release"], row["backend"]) not in done] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
