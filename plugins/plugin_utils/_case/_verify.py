# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a case folder still say what was written into it?"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.firebreak.response.plugins.plugin_utils._case import _records as records

_LINE = 16777216
_CHUNK = 1048576


@dataclass(frozen=True, slots=True)
class Report:
    """`problems` in the order of the ledger, the first one is where it stops to fit; `torn`: lines of killed writers."""

    count: int
    head: str
    torn: int
    problems: list[str]


def _lines(path: str) -> Iterator[bytes]:
    with open(path, "rb") as stream:
        while line := stream.readline(_LINE):
            yield line


def _check_record(record: records.Record, line: bytes, case: str, before: records.Checkpoint) -> str:
    """Why the record does not fit, or an empty text."""
    if records.digest(record) != record["hash"]:
        return "its hash is not that of its content"
    if records.canonical(record) != line:
        return "it is not in canonical form"
    if record["seq"] != before.count + 1:
        return f"it says it is record {record['seq']}"
    if record.get("previous") != before.head:
        return "it does not carry the hash of the record before"
    if record.get("case") != case:
        return "it belongs to another case"
    if record.get("event") == "checkpoint" and (record.get("count"), record.get("head")) != (before.count, before.head):
        return "it is a checkpoint of another ledger"
    return ""


def _check_file(folder: str, produced: object, number: int) -> tuple[str, str]:
    """(path, why it does not fit or an empty text) of one file that a record names."""
    if not isinstance(produced, dict) or not isinstance(produced.get("path"), str):
        return "", f"record {number} names a file without a path"
    name = produced["path"]
    if os.path.isabs(name) or ".." in name.split("/"):
        return name, f"record {number} names a file outside the case: {name!r}"
    path = os.path.join(folder, name)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return name, f"file {name!r} of record {number} is missing or is a link"
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return name, f"file {name!r} of record {number} is no regular file"
        digest = hashlib.sha256()
        while data := stream.read(_CHUNK):
            digest.update(data)
        if digest.hexdigest() != produced.get("sha256") or stream.tell() != produced.get("size"):
            return name, f"file {name!r} is not what record {number} says arrived"
    return name, ""


def _unlisted(folder: str, listed: set[str]) -> Iterator[str]:
    for place, folders, names in os.walk(os.path.join(folder, "evidence")):
        folders.sort()
        for name in sorted(names):
            path = os.path.relpath(os.path.join(place, name), folder)
            if path not in listed and not name.endswith(".part"):
                yield f"file {path!r} is in no record of the ledger"


def verify(folder: str, checkpoint: records.Checkpoint | None = None) -> Report:
    """Check the chain, every file that it names, and that no other file lies among the evidence.

    `checkpoint`: one that was kept elsewhere (a task's result, the host's journal); without it a cut tail cannot be seen.
    Raises OSError where there is no ledger to read.
    """
    case = os.path.basename(os.path.normpath(os.path.abspath(folder)))
    problems: list[str] = []
    files: list[tuple[object, int]] = []
    at = records.Checkpoint(0, records.START)
    pending: list[tuple[int, bytes]] = []
    torn = 0
    met = checkpoint is None or checkpoint.count == 0
    for number, raw in enumerate(_lines(os.path.join(folder, "ledger.jsonl")), 1):
        line = raw.removesuffix(b"\n")
        record = records.parse(line)
        if record is None:
            pending.append((number, line))
            continue
        if pending and record.get("event") == "torn":
            at_line, lost = pending.pop(0)
            if (record.get("bytes"), record.get("sha256")) != (len(lost), hashlib.sha256(lost).hexdigest()):
                problems.append(f"line {at_line} is not the torn line that record {at.count + 1} accounts for")
            torn += 1
        elif pending:
            problems.append(f"line {pending[0][0]} is no record, and no record accounts for it")
            pending.clear()
        why = _check_record(record, line, case, at)
        if why:
            problems.append(f"record {at.count + 1} (line {number}): {why}")
            break
        at = records.Checkpoint(at.count + 1, str(record["hash"]))
        if checkpoint is not None and at.count == checkpoint.count:
            met = True
            if at.head != checkpoint.head:
                problems.append(f"record {at.count} is not the one of the checkpoint: the ledger was written anew")
        produced = record.get("produced")
        files.extend((entry, at.count) for entry in (produced if isinstance(produced, list) else []))
    else:
        if not met and checkpoint is not None:
            problems.append(
                f"record {at.count + 1} is missing: the ledger ends after {at.count} records, the checkpoint knows {checkpoint.count}"
            )
    torn += len(pending)
    listed = set()
    for entry, number in files:
        name, why = _check_file(folder, entry, number)
        listed.add(name)
        if why:
            problems.append(why)
    if not any(
        problem.startswith("record ") for problem in problems
    ):  # else what the rest of the ledger lists is not known
        problems.extend(_unlisted(folder, listed))
    return Report(at.count, at.head, torn, problems)
