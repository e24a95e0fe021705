# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence from the host into the case folder: inline or piece by piece, verified, recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, MutableMapping

from ansible_collections.firebreak.response.plugins.plugin_utils import _answer as answer
from ansible_collections.firebreak.response.plugins.plugin_utils._case._folder import CaseFolder
from ansible_collections.firebreak.response.plugins.plugin_utils._case._intake import Arrival, Arrived, stamp
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import AnswerError

# What must stay free on the controller: a ledger that cannot be written any more stops every response.
_FREE = 67108864
# (name of the file on the host, offset, length) -> the answer of the module
Fetch = Callable[[str, int, int], object]


def _take(arrival: Arrival, part: answer.Part, fetch: Fetch | None) -> Arrived:
    if part.inline is not None:
        arrival.write(part.inline)
    elif fetch is not None:
        try:
            while arrival.size < part.size:
                wanted = min(answer.PIECE, part.size - arrival.size)
                arrival.write(answer.piece(fetch(part.name, arrival.size, wanted), arrival.size, wanted))
        except AnswerError:
            # Finished as what it is: kept aside as rejected, for a host that dies tomorrow gives nothing better.
            return arrival.finish("", -1)
    return arrival.finish(part.sha256, part.size)


class Evidence:
    """What one task brings home from one host. `max_bytes`: as the host was told."""

    def __init__(self, folder: CaseFolder, host: str, tier: str, max_bytes: int) -> None:
        self.most = answer.largest(max_bytes)
        self._folder = folder
        self._host = host
        self._tier = tier if tier.isascii() and tier.isalnum() else "evidence"
        self.produced: list[dict[str, object]] = []
        self.result: dict[str, object] = {}
        self.reasons: list[str] = []
        self.received: dict[str, str] = {}

    def no_room(self, offer: answer.Offer) -> str:
        """Why what is offered cannot be fetched: the controller has no room for it; empty where it has."""
        folder = self._folder.evidence_of(self._host)
        size = offer.bundle.size + offer.manifest.size
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"the free space of {folder!r} cannot be told: {error.strerror}; the evidence stays on the host"
        if free >= size + _FREE:
            return ""
        return (
            f"{folder!r} has {free} bytes free, and {size} bytes of evidence need {size + _FREE}: it is not fetched and stays on the host; "
            "make room, or choose another folder with firebreak_cases_dir"
        )

    def take(self, offer: answer.Offer, fetch: Fetch | None) -> bool:
        """Write bundle and manifest, compare them with what the host announced; whether both are whole.

        Without `fetch` only an offer that carries its content can be taken. Raises CaseError where the controller cannot
        write, and whatever `fetch` raises; the host's copy stays in every case but a return of True.
        """
        folder = self._folder.evidence_of(self._host)
        name = f"{stamp()}-{self._tier}"
        bundle = _take(Arrival(folder, name + ".tar.gz"), offer.bundle, fetch)
        manifest = _take(Arrival(folder, name + ".manifest.json"), offer.manifest, fetch)
        whole = bundle.verified and manifest.verified
        for part in (bundle, manifest):
            entry: dict[str, object] = {
                "path": self._folder.relative(part.path),
                "sha256": part.sha256,
                "size": part.size,
            }
            if not part.verified:
                entry["rejected"] = True
            self.produced.append(entry)
        self.result = {
            "path": bundle.path,
            "manifest": manifest.path,
            "sha256": bundle.sha256,
            "size": bundle.size,
            "verified": whole,
            "host_copy": "kept",
        }
        if whole:
            self.received = {"name": offer.bundle.name, "sha256": offer.bundle.sha256}
        else:
            self.reasons.append(
                "the evidence did not arrive as the host had announced it; the host's copy stays, what arrived is kept as rejected"
            )
        return whole

    def discarded(self, result: MutableMapping[str, object]) -> None:
        """Take out of an answer whether the host has removed its copy (False: it was gone already), and note it."""
        if isinstance(result.pop("discarded", None), bool) and self.received:
            self.result["host_copy"] = "removed"
