# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One record of the ledger: canonical form, hash, what its arguments may show. Pure functions."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The hash before the first record.
START = "0" * 64
_SECRET = re.compile(r"passw|secret|token|api_?key|private_?key|credential", re.IGNORECASE)
_TEXT = 1024
_ENTRIES = 50

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the ledger went: number of records, hash of the last one."""

    count: int
    head: str


def now() -> str:
    """UTC with milliseconds, RFC 3339."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(record: Mapping[str, object]) -> bytes:
    """The one way to write a record: keys in order, no spaces, ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest(record: Mapping[str, object]) -> str:
    """SHA-256 of the record without its own hash."""
    return hashlib.sha256(canonical({key: value for key, value in record.items() if key != "hash"})).hexdigest()


def seal(record: Mapping[str, object], before: Checkpoint) -> tuple[bytes, Checkpoint]:
    """The record as a line, chained to what stands before it, and the checkpoint after it."""
    sealed = {**record, "seq": before.count + 1, "previous": before.head}
    sealed["hash"] = digest(sealed)
    return canonical(sealed) + b"\n", Checkpoint(before.count + 1, str(sealed["hash"]))


def parse(line: bytes) -> Record | None:
    """The record that a line holds; None where it is no record in canonical form (whether it fits is another question)."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("hash"), str):
        return None
    seq = record.get("seq")
    if isinstance(seq, bool) or not isinstance(seq, int):
        return None
    return record


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return str(value) if len(value) <= _TEXT else f"{value[:_TEXT]}… ({len(value)} characters)"
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return value + 0
    if isinstance(value, Mapping):
        return {
            str(key): "removed" if _SECRET.search(str(key)) else _bounded(item)
            for key, item in list(value.items())[:_ENTRIES]
        }
    if isinstance(value, Sequence):
        kept = [_bounded(item) for item in value[:_ENTRIES]]
        if len(value) > _ENTRIES:
            kept.append(
                f"and {len(value) - _ENTRIES} more, all with SHA-256 {hashlib.sha256(repr(list(value)).encode()).hexdigest()}"
            )
        return kept
    return _bounded(str(value))


def arguments(given: Mapping[str, object], censored: bool) -> object:
    """What the operator asked for, without secrets and bulk; nothing of it where the task says `no_log`."""
    if censored:
        return "removed: no_log"
    return _bounded({name: value for name, value in given.items() if not name.startswith("_")})
