# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence on its arrival: written, hashed as it is written, compared, and only then given its name."""

from __future__ import annotations

import datetime
import hashlib
import os
from typing import NamedTuple

from ansible_collections.firebreak.response.plugins.plugin_utils._case._folder import sync_folder
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import CaseError


class Arrived(NamedTuple):
    """A file of the case: absolute path, SHA-256 and size as they arrived, whether they are what the host announced."""

    path: str
    sha256: str
    size: int
    verified: bool


def stamp() -> str:
    """UTC with milliseconds as evidence names carry it: 20261124T042751.123Z."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"


class Arrival:
    """One file on its way in: `write` pieces, then `finish`. Until then it is called `NAME.part`.

    The name is ours; what the host calls its file never becomes a path. Raises CaseError where it cannot be written.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._path = os.path.join(folder, name)
        self._digest = hashlib.sha256()
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._handle = os.open(self._path + ".part", flags, 0o600)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CaseError:
        return CaseError(f"evidence {self._path!r} cannot be written: {error.strerror}")

    def write(self, data: bytes) -> None:
        """Append a piece."""
        self._digest.update(data)
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, sha256: str, size: int) -> Arrived:
        """Sync, compare with what was announced, and name the file; what does not fit is kept as `NAME.rejected`."""
        found = self._digest.hexdigest()
        verified = found == sha256 and self.size == size
        path = self._path if verified else self._path + ".rejected"
        try:
            os.fsync(self._handle)
            os.link(self._path + ".part", path, follow_symlinks=False)  # refuses to replace, as a rename would not
            os.unlink(self._path + ".part")
            sync_folder(os.path.dirname(path))
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(self._handle)
        return Arrived(path, found, self.size, verified)
