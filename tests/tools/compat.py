# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of host code that Python 3.8 cannot parse. usage: python -m tests.tools.compat FOLDER..."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

OLDEST = (3, 8)


def problems(name: str, text: str) -> list[str]:
    """What Python 3.8 says of the file; empty if nothing."""
    try:
        ast.parse(text, name, feature_version=OLDEST)
    except SyntaxError as error:
        return [f"{name}:{error.lineno}: {error.msg}"]
    return []


def main(folders: list[str]) -> int:
    """Exit code: 1 if a file does not parse."""
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    found = [problem for path in files for problem in problems(str(path), path.read_text(encoding="utf-8"))]
    sys.stdout.write("".join(problem + "\n" for problem in found) + f"{len(files)} files, {len(found)} problems\n")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
