# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`./dev bench [NAME]`: measures, prints a table, writes results.json; exits with 1 where a limit does not hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import contain, fleet, isolation

BENCHES = {"contain": contain.measure, "contain-fleet": fleet.measure, "isolation": isolation.measure}
RESULTS = Path(__file__).with_name("results.json")


def _keep(figures: list[dict[str, object]]) -> None:
    """Write what was measured; figures of benches that did not run stay."""
    measured = {_bench(figure) for figure in figures}
    kept = [figure for figure in json.loads(RESULTS.read_text(encoding="utf-8")) if _bench(figure) not in measured]
    every = sorted(kept + figures, key=lambda figure: list(BENCHES).index(_bench(figure)))
    RESULTS.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")


def _bench(figure: dict[str, object]) -> str:
    return str(figure["name"]).split("/", maxsplit=1)[0]


def main(names: list[str]) -> int:
    """Run the benches whose names begin so; all where none is given."""
    chosen = [bench for bench in BENCHES if not names or any(bench.startswith(name) for name in names)]
    if not chosen:
        print(f"no such bench; there are: {', '.join(BENCHES)}")
        return 2
    figures = []
    for bench in chosen:
        figures += BENCHES[bench]()
        _keep(figures)
    for figure in figures:
        word = {True: "holds", False: "DOES NOT HOLD", None: ""}[figure["holds"]]
        print(f"{figure['name']:40} {figure['value']:8.4f} {figure['unit']}  {figure['ratio']:6.2f} x {figure['against']} {figure['unit']}"
              f"  {'at most ' + str(figure['limit']) if figure['limit'] else '':12} {word}")
    return 0 if all(figure["holds"] is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
