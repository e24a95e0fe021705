# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host answered, believed only as far as its form goes.

The host is hostile: any type may stand anywhere, names may be paths, sizes may lie. Nothing of it is used before it is
checked here, and nothing of it may act on the controller: no facts, no added hosts, no exit codes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from ansible_collections.firebreak.response.plugins.plugin_utils._errors import AnswerError
from ansible_collections.firebreak.response.plugins.plugin_utils._text import Cleaner, printable

Result = dict[str, object]

# Keys by which a result steers Ansible, or that the action plugin sets itself.
_STEERING = frozenset(
    (
        "ansible_facts",
        "ansible_stats",
        "add_host",
        "add_group",
        "invocation",
        "exception",
        "warnings",
        "deprecations",
        "rc",
        "results",
        "skipped",
        "unreachable",
        "failed",
        "failed_when_result",
        "module_stdout",
        "module_stderr",
        "stdout",
        "stderr",
        "msg",
        "evidence",
        "ledger",
        "case",
        "refused",
        "seconds",
        "attempts",
        "retries",
    )
)
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
PIECE = 4194304
# A bundle holds at most max_bytes of content; what stands around it, and what does not compress, makes it a little larger.
_AROUND = 16777216
_INLINE = 8388608
_MANIFEST = 268435456


class Part(NamedTuple):
    """One file on the host: name there, SHA-256, size in bytes, content where the answer carried it."""

    name: str
    sha256: str
    size: int
    inline: bytes | None


class Offer(NamedTuple):
    """Evidence that lies on the host: the bundle and its manifest."""

    bundle: Part
    manifest: Part


def plain(answer: object) -> tuple[Result, bool]:
    """(the answer without what could steer Ansible, escaped and bounded; whether something was left out)."""
    if not isinstance(answer, Mapping):
        raise AnswerError("the host's answer is no result of our module")
    cleaner = Cleaner()
    kept = {
        key: value
        for key, value in answer.items()
        if isinstance(key, str) and key not in _STEERING and not key.startswith("_")
    }
    cleaned = cleaner.clean(kept)
    return (cleaned if isinstance(cleaned, dict) else {}), cleaner.cut


def interpreter(answer: object) -> Result:
    """The Python that Ansible itself has discovered, as the only fact a result may set."""
    facts = answer.get("ansible_facts") if isinstance(answer, Mapping) else None
    found = facts.get("discovered_interpreter_python") if isinstance(facts, Mapping) else None
    if isinstance(found, str) and re.fullmatch(r"/[A-Za-z0-9._/+-]{1,255}", found):
        return {"ansible_facts": {"discovered_interpreter_python": str(found)}}
    return {}


def failed(answer: object) -> bool:
    """Whether the module says that it failed, or is no module of ours."""
    return not isinstance(answer, Mapping) or bool(answer.get("failed")) or broke_off(answer)


def broke_off(answer: object) -> bool:
    """Whether the module ended without a result of its own: it was killed, or what it printed was spoiled."""
    return isinstance(answer, Mapping) and answer.get("_ansible_parsed") is False


def host_message(answer: object) -> str:
    """The host's own words for its failure, escaped, for `reasons`."""
    if not isinstance(answer, Mapping):
        return "the answer was no result"
    said = [answer.get("msg"), _uncaught(answer.get("exception"))]
    if answer.get("_ansible_parsed") is False:  # no word of our module: what broke it stands at the end of these
        said += [
            text[-600:] for text in (answer.get("module_stderr"), answer.get("module_stdout")) if isinstance(text, str)
        ]
    words = [printable(text.strip(), 600) for text in said if isinstance(text, str) and text.strip()]
    if words:
        return "; ".join(words)
    return "it gave no reason"


def _uncaught(error: object) -> str | None:
    """What an error says that no module caught: ansible-core 2.19 gives an object with an event, older ones a traceback."""
    if isinstance(error, str):
        lines = error.strip().splitlines()
        return f"an error that the module did not catch: {lines[-1]}" if lines else None
    said = getattr(getattr(error, "event", None), "msg", None)
    return f"an error that the module did not catch: {said}" if isinstance(said, str) and said else None


def strings(value: object, most: int = 50) -> list[str]:
    """The strings of a list that the host gave, escaped; other things in it are left out."""
    return (
        [printable(item, 600) for item in value[:most] if isinstance(item, str)]
        if isinstance(value, (list, tuple))
        else []
    )


def announced(answer: object) -> Result:
    """In check mode: what the evidence would be, as far as the host says, without its content."""
    found = answer.get("evidence") if isinstance(answer, Mapping) else None
    cleaned = (
        Cleaner().clean({key: found[key] for key in found if "inline" not in str(key)})
        if isinstance(found, Mapping)
        else None
    )
    return {"evidence": cleaned} if isinstance(cleaned, dict) else {}


def _content(offer: Mapping[str, object], key: str) -> bytes | None:
    text = offer.get(key)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _INLINE:
        raise AnswerError(f"the evidence that the host offers has no usable {key}")
    return decode(text)


def decode(text: str) -> bytes:
    """Base64 as our module writes it. Raises AnswerError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AnswerError("the evidence did not arrive as base64") from error


def _part(offer: Mapping[str, object], keys: tuple[str, str, str, str], largest: int) -> Part:
    name, sha256, size = offer.get(keys[0]), offer.get(keys[1]), offer.get(keys[2])
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AnswerError("the evidence that the host offers has no usable name")
    if not isinstance(sha256, str) or not _HASH.fullmatch(sha256):
        raise AnswerError("the evidence that the host offers has no SHA-256")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise AnswerError("the evidence that the host offers has no possible size")
    if size > largest:
        raise AnswerError(
            f"the host offers {min(size, 2**63)} bytes of evidence where max_bytes allows {largest}: it is not fetched and stays there"
        )
    return Part(str(name), str(sha256), int(size), _content(offer, keys[3]))


def largest(max_bytes: int) -> int:
    """The most bytes that an honest bundle has of which the content was limited to `max_bytes`."""
    return max_bytes + max_bytes // 1024 + _AROUND


def offer(answer: object, most: int) -> Offer | None:
    """The evidence that an answer offers, None where it offers none; `most`: bytes that a bundle or a manifest may have.

    Raises AnswerError where its form is wrong, or where it is larger than was asked for.
    """
    found = answer.get("evidence") if isinstance(answer, Mapping) else None
    if found is None or found == {}:
        return None
    if not isinstance(found, Mapping):
        raise AnswerError("the evidence that the host offers has no usable form")
    return Offer(
        _part(found, ("name", "sha256", "size", "inline"), most),
        _part(found, ("manifest", "manifest_sha256", "manifest_size", "manifest_inline"), min(most, _MANIFEST)),
    )


def piece(answer: object, offset: int, wanted: int) -> bytes:
    """The `wanted` bytes at `offset` that were asked for: no fewer, or a host could make any number of runs of them.

    Raises AnswerError.
    """
    found = answer.get("piece", answer) if isinstance(answer, Mapping) else None
    if not isinstance(found, Mapping) or found.get("offset") != offset or not isinstance(found.get("data"), str):
        raise AnswerError("the host did not give the piece of evidence that was asked for")
    text = found["data"]
    if len(text) > PIECE * 2:
        raise AnswerError("the host gave more evidence than was asked for")
    data = decode(text)
    if len(data) != wanted:
        raise AnswerError(f"the host gave {len(data)} bytes of evidence where {wanted} were asked for, as it had announced")
    return data
