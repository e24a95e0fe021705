# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `snapshot`: options in, plain result out. `contain` uses `describe` and `summary` for its own bundle."""

from __future__ import annotations

import os

from .._errors import HostError, OptionError
from .._host._workdir import Workdir
from .._text import printable
from . import _identity as identity
from ._bundle import Bundle
from ._collectors import run as collect
from ._context import Context
from ._fetch import MAX_PIECE, discard, manifest_of, read_piece
from ._take_network import start_firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._timeline import Timeline

# Base64 makes 700 kB of it; AWX drops results beyond 700,000 bytes, but the action plugin takes it out before that.
INLINE = 524288
NOT_COVERED = [
    "tiers triage and full: files, packages, logs, memory",
    "content of deleted files that are open but not running (they are listed)",
    "namespaces of processes other than the network's",
    "comparison of what libc shows with raw system calls",
]


def _shown(value: object) -> object:
    """A value for the result: texts escaped and cut."""
    return printable(value) if isinstance(value, str) else value


def summary(context: Context) -> dict[str, object]:
    """{"counts": {name: number}, "notable": [{"what", ...}]}: at most 50 notable things, 10 of a kind, texts escaped."""
    notable = [{key: _shown(value) for key, value in item.items()} for item in context.notable]
    return {"counts": dict(sorted(context.counts.items())), "notable": notable}


def describe(bundle: Bundle, context: Context) -> dict[str, object]:
    """Close the bundle; the result's `evidence` for the action plugin, which fetches what is not inline.

    {"name", "sha256", "size", "manifest", "manifest_sha256", "manifest_size", "inline", "manifest_inline"}: the last two
    base64 or None; names None in check mode. Raises HostError.
    """
    bundle.facts["host"] = identity.host(context.root)
    bundle.facts["tool"] = identity.tool(context)
    if bundle.work.writable:  # every file of ours that the host holds after this reading
        bundle.facts["footprint"] = [bundle.work.file(name) for name in (bundle.name, manifest_of(bundle.name))]
    closed = bundle.close()
    evidence: dict[str, object] = {
        "name": closed["bundle"],
        "inline": None,
        "manifest_inline": None,
    }
    for key in ("sha256", "size", "manifest", "manifest_sha256", "manifest_size"):
        evidence[key] = closed[key]
    if closed["bundle"] is not None and bundle.size <= INLINE:
        evidence["inline"] = read_piece(bundle.work, bundle.name, 0, MAX_PIECE)["data"]
        piece = read_piece(bundle.work, str(closed["manifest"]), 0, MAX_PIECE)
        evidence["manifest_inline"] = piece["data"] if piece["eof"] else None
    return evidence


def _positive(params: dict[str, object], name: str) -> int:
    value = params[name]
    if not isinstance(value, int) or value < 1:
        raise OptionError(name, value, "a number of 1 or more")
    return value


def fetch(work: Workdir, piece: dict[str, object]) -> dict[str, object]:
    """One piece of a bundle, or its removal after verified receipt. Raises OptionError, HostError."""
    name = piece.get("bundle")
    if piece.get("discard") and not work.writable:
        raise HostError("check mode removes nothing")
    if piece.get("discard"):
        return {"changed": False, "discarded": discard(work, name, piece.get("sha256"))}
    return {"changed": False, "piece": read_piece(work, name, piece.get("offset", 0), piece.get("length", MAX_PIECE))}


def run(params: dict[str, object], check_mode: bool, timeline: Timeline) -> dict[str, object]:
    """Take the tier, or with `_phase` "fetch" hand out a piece. The module's documented result. Raises FirebreakError."""
    if os.geteuid() != 0:
        raise HostError("evidence needs root: run with become, for instance -b on the command line")
    case = str(params["case"])
    work = Workdir(case, writable=not check_mode)
    if params.get("_phase") == "fetch":
        piece = params.get("_piece")
        return fetch(work, piece if isinstance(piece, dict) else {})
    received = params.get("_received")
    if isinstance(received, dict) and received:
        return fetch(work, {"bundle": received.get("name"), "discard": True, "sha256": received.get("sha256")})
    context = Context(max_seconds=_positive(params, "max_seconds"))
    start_firewall(context)
    bundle = Bundle(work, str(params["tier"]), case, _positive(params, "max_bytes"))
    timeline.mark("bundle opened")
    coverage = collect(bundle, context)
    bundle.sync()
    timeline.mark("volatile tier safe")
    evidence = describe(bundle, context)
    timeline.mark("bundle closed")
    return {
        "changed": False,
        "outcome": bundle.outcome,
        "bundle": evidence["name"],
        "manifest": evidence["manifest"],
        "coverage": coverage,
        "missing": bundle.missing,
        "summary": summary(context),
        "timeline": timeline.steps,
        "not_covered": list(NOT_COVERED),
        "evidence": evidence,
    }
