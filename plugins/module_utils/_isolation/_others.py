# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others have in this host's firewall, table by table, so that a release can say what they changed while it was isolated."""

from __future__ import annotations

import hashlib
import os

from .._errors import HostError
from .._text import printable
from ._commands import HELD, SAID, TABLE, find, legacy_tables, run

_OURS = "FIREBREAK-"  # how our chains in tables of others begin


def nft_tables(listing: str) -> dict[str, str]:
    """Each table of `nft -s list ruleset` by "nftables FAMILY NAME" -> its text, without what is ours and what comes and goes by itself."""
    found: dict[str, list[str]] = {}
    name, block, fleeting, elements = "", "", False, False
    for line in listing.splitlines():
        if line.startswith("table "):
            words = line.split()  # a comment of somebody's may have any text, and a line like this in it
            name = "" if len(words) < 3 or words[2] in (TABLE, HELD) else "nftables {0} {1}".format(*words[1:3])
            if name:
                found.setdefault(name, [])
            continue
        if line.startswith("\t") and not line.startswith("\t\t"):
            block, fleeting, elements = line.strip(), False, False
        # Elements stand last in their set; those with a lifetime are rather traffic than rules.
        fleeting = fleeting or line.strip().startswith(("timeout ", "flags ")) and ("timeout" in line or "dynamic" in line)
        elements = elements or (fleeting and line.strip().startswith("elements = "))
        ours = block.startswith("chain " + _OURS) or "jump " + _OURS in line
        if name and line.strip() not in ("", "}") and not (ours or elements or line.lstrip().startswith("#")):
            found[name].append(line)
    return {table: "\n".join(lines) for table, lines in found.items() if lines}


def legacy_saved(save: str, program: str) -> dict[str, str]:
    """Each table of iptables-legacy-save's output by "PROGRAM NAME" -> its rules, without counters and what is ours.

    A table without rules is none: it is made by a mere question, and no command takes it away.
    """
    found: dict[str, list[str]] = {}
    name = ""
    for line in save.splitlines():
        if line.startswith("*"):
            name = "{0} {1}".format(program, line[1:].strip())
            found[name] = []
        elif name and line.startswith((":", "-A ")) and _OURS not in line:
            found[name].append(line.split(" [")[0] if line.startswith(":") else line)
    return {table: "\n".join(lines) for table, lines in found.items() if any(" ACCEPT" not in line or line.startswith("-A ") for line in lines)}


def read() -> dict[str, str] | None:
    """Every table of others -> a hash of its text; None where it cannot be read. Which program made our own rules does not matter."""
    texts: dict[str, str] = {}
    nft = find("nft")
    try:
        if nft is not None:
            texts.update(nft_tables(_said([nft, "-s", "list", "ruleset"])))
        texts.update(_legacy())
    except HostError:
        return None
    return {table: hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for table, text in texts.items()}


def _legacy() -> dict[str, str]:
    texts: dict[str, str] = {}
    for family, program in ((4, "iptables-legacy"), (6, "ip6tables-legacy")):
        save = find(program + "-save") or find(program.replace("-legacy", "-save"))
        if legacy_tables(family) and save is not None and "nft" not in os.path.basename(os.path.realpath(save)):
            texts.update(legacy_saved(_said([save]), program))
    return texts


def _said(argv: list[str]) -> str:
    status, text, error = run(argv)
    if status != 0:
        raise HostError("{0}: {1}".format(argv[0], printable(error.strip(), SAID)))
    return text


def changes(before: object, after: dict[str, str] | None) -> list[str]:
    """Tables that are not as they were, such as "changed: nftables ip nat"; none where either is no reading."""
    if not isinstance(before, dict) or after is None:
        return []
    told = []
    for table in sorted({*map(str, before), *after}):
        if before.get(table) != after.get(table):
            what = "new" if table not in before else "gone" if table not in after else "changed"
            told.append("{0}: {1}".format(what, printable(table, 200)))
    return told
