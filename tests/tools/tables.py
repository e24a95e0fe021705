# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of README.md from what was measured: `./dev bench` and `./dev matrix NAME` run it at their end."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FIGURES = ROOT / "benchmarks/results.json"


def figures(rows: list[dict]) -> str:
    """Figures of the benches, a line each."""
    lines = ["| what | measured | against | ratio | at most | |", "|---|---|---|---|---|---|"]
    for row in rows:
        word = {True: "holds", False: "**does not hold**", None: "reported"}[row["holds"]]
        limit = "" if row["limit"] is None else row["limit"]
        lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['against']:.3g} {row['unit']} | {row['ratio']:.2f} | {limit} | {word} |")
    return "\n".join(lines)


def matrix(rows: list[dict]) -> str:
    """Cases down, cells (release and backend) across: what was expected and seen."""
    cells = sorted({(row["backend"], row["release"]) for row in rows}, reverse=True)
    got = {(row["case"], row["backend"], row["release"]): row for row in rows}
    lines = ["| case | " + " | ".join(f"{release}, {backend}" for backend, release in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    for case in dict.fromkeys(row["case"] for row in rows):
        shown = []
        for cell in cells:
            row = got.get((case, *cell))
            shown.append("not run" if row is None else f"{row['got']}" if row["holds"] else f"**{row['got']}, not {row['expected']}**")
        lines.append(f"| {case} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def placed(text: str, name: str, table: str) -> str:
    """The text with the table between the marks of its name. Raises ValueError where the marks are missing."""
    begin, end = f"<!-- {name}: generated, do not edit -->\n", f"\n<!-- end of {name} -->"
    changed, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _match: begin + table + end, text, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{README.name} has no place for {name}")
    return changed


def main() -> None:
    """Write every table whose data there is."""
    text = placed(README.read_text(encoding="utf-8"), "figures", figures(json.loads(FIGURES.read_text(encoding="utf-8"))))
    for path in sorted((ROOT / "tests/output").glob("matrix-*.json")):
        name = path.stem.removeprefix("matrix-")
        text = placed(text, name, matrix(json.loads(path.read_text(encoding="utf-8"))))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
