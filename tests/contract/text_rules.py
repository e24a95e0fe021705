# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about files and imports: text in, complaints out."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

LONGEST = 500  # lines; a longer file is two things
SPDX = "SPDX-License-Identifier: GPL-3.0-or-later"
# Folders of one machine (not that of execution environments), and hosts that serve packages; in pieces, since this file is read too.
PLACES = re.compile("|".join((
    r"/home/(?!runner/)[a-z]+/", "/" + r"root/\.", "/" + r"tmp/w\b", "/" + r"work/", r"pypi\." + "org", r"pythonhosted\." + "org", r"galaxy\.ansible\." + "com",
    r"quay\." + "io", r"docker\." + "io", r"deb\.debian\." + "org",
)))


def imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, relative ones with their dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + ".".join(part for part in (node.module, alias.name) if part)


def host_import_problems(source: str) -> list[str]:
    """What a file of module_utils imports besides the standard library and its own package."""
    own = ("ansible.module_utils.", "ansible_collections.firebreak.response.plugins.module_utils.")
    problems = []
    for line, name in imports(source):
        top = name.split(".")[0]
        inside = name.startswith((".", *own)) and "plugin_utils" not in name
        if not inside and top not in sys.stdlib_module_names:
            problems.append(f"line {line}: imports {name}")
    return problems


def controller_import_problems(source: str) -> list[str]:
    """What a file of plugin_utils or an action plugin imports from module_utils; the options, plain data, may cross."""
    return [f"line {line}: imports {name}" for line, name in imports(source)
            if "response.plugins.module_utils" in name and "module_utils._arguments" not in name]


def text_problems(text: str) -> list[str]:
    """A file without licence, too long, or that names a place of one machine or a registry."""
    problems = []
    lines = text.splitlines()
    if lines and not any(SPDX in line for line in lines[:8]):
        problems.append("no SPDX header in the first lines")
    if len(lines) > LONGEST:
        problems.append(f"{len(lines)} lines")
    return problems + place_problems(text)


def place_problems(text: str) -> list[str]:
    """Lines that name a place of one machine, or a registry."""
    return [f"line {number}: {found.group()}" for number, line in enumerate(text.splitlines(), 1) for found in PLACES.finditer(line)]


def command_problems(readme: str, verbs: set[str]) -> list[str]:
    """`./dev` verbs that a text shows and that ./dev does not have."""
    return sorted(f"./dev {verb}" for verb in set(re.findall(r"\./dev ([a-z]+)", readme)) - verbs)


def dev_verbs(script: str) -> set[str]:
    """The verbs that ./dev takes, from the case statement that checks its first word."""
    found = re.search(r"^ *([a-z |]+)\) verb=\$1", script, re.MULTILINE)
    return {word.strip() for word in found.group(1).split("|")} if found else set()
