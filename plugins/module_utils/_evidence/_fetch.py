# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence on its way to the controller, piece by piece, and out of the host once it has arrived.

Only what the names of `_bundle` can name is ever read or removed, and only in the case's own work folder.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re

from .._errors import HostError, OptionError
from .._host._files import open_regular
from .._host._workdir import Workdir
from ._sink import sync_folder

# A piece is held in memory as bytes, as base64 and as JSON, on both sides.
MAX_PIECE = 4194304
_BUNDLE = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[a-z]{1,16}\.tar\.gz", re.ASCII)
_MANIFEST = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[a-z]{1,16}\.manifest\.json", re.ASCII)
_CHUNK = 1048576


def is_bundle(name: str) -> bool:
    """Whether a file's name is that of a bundle."""
    return _BUNDLE.fullmatch(name) is not None


def manifest_of(bundle: str) -> str:
    """The name of the manifest that belongs to a bundle's name."""
    return bundle[: -len(".tar.gz")] + ".manifest.json"


def _open(work: Workdir, name: str) -> int:
    """A descriptor on a file of ours. Raises HostError where it is gone, or no longer ours and ours alone."""
    try:
        handle = open_regular(work.file(name))
    except OSError as error:
        raise HostError("evidence {0} cannot be read: {1}".format(name, error.strerror)) from error
    entry = os.fstat(handle)
    if entry.st_uid != os.geteuid() or entry.st_mode & 0o077 or entry.st_nlink != 1:
        os.close(handle)
        raise HostError("evidence {0} is no longer root's alone; look at it by hand".format(name))
    return handle


def _bytes(option: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise OptionError(option, value, "a number of bytes, 0 or more")
    return value


def read_piece(work: Workdir, bundle: object, offset: object, length: object) -> dict[str, object]:
    """At most `length` (and MAX_PIECE) bytes of a bundle or of its manifest, from `offset`.

    {"data": base64, "offset": int, "length": int, "size": int (of the whole file), "eof": bool, "sha256_of_piece": hex}.
    Raises OptionError for a name that is not ours or an impossible range, HostError where the file cannot be read.
    """
    if not isinstance(bundle, str) or not (_BUNDLE.fullmatch(bundle) or _MANIFEST.fullmatch(bundle)):
        raise OptionError("_piece.bundle", bundle, "the name of a bundle or of its manifest")
    offset = _bytes("_piece.offset", offset)
    length = _bytes("_piece.length", length)
    handle = _open(work, bundle)
    try:
        size = os.fstat(handle).st_size
        if offset > size:
            raise OptionError("_piece.offset", offset, "at most the size of the file, {0}".format(size))
        wanted = min(length, MAX_PIECE, size - offset)
        parts = []
        done = 0
        while done < wanted:
            data = os.pread(handle, wanted - done, offset + done)
            if not data:
                break
            parts.append(data)
            done += len(data)
    except OSError as error:
        raise HostError("evidence {0} cannot be read: {1}".format(bundle, error.strerror)) from error
    finally:
        os.close(handle)
    piece = b"".join(parts)
    return {
        "data": base64.b64encode(piece).decode("ascii"),
        "offset": offset,
        "length": done,
        "size": size,
        "eof": offset + done >= size,
        "sha256_of_piece": hashlib.sha256(piece).hexdigest(),
    }


def discard(work: Workdir, bundle: object, sha256: object) -> bool:
    """Remove a bundle and its manifest, which the controller holds verified; False where they are gone already.

    The bundle is hashed again here: what is removed is what was received, and nothing else. Raises OptionError for a name
    that is not ours, HostError where the hash differs (both copies stay) or removing fails.
    """
    if not isinstance(bundle, str) or not _BUNDLE.fullmatch(bundle):
        raise OptionError("_piece.bundle", bundle, "the name of a bundle")
    try:
        os.lstat(work.file(bundle))
    except FileNotFoundError:
        return False
    handle = _open(work, bundle)
    digest = hashlib.sha256()
    try:
        while True:
            data = os.read(handle, _CHUNK)
            if not data:
                break
            digest.update(data)
    except OSError as error:
        raise HostError("evidence {0} cannot be read: {1}".format(bundle, error.strerror)) from error
    finally:
        os.close(handle)
    if digest.hexdigest() != sha256:
        raise HostError("evidence {0} is not what was received: its SHA-256 differs; both copies stay".format(bundle))
    try:
        for name in (bundle, manifest_of(bundle)):
            try:
                os.unlink(work.file(name))
            except FileNotFoundError:
                pass
    except OSError as error:
        raise HostError("evidence {0} cannot be removed: {1}".format(bundle, error.strerror)) from error
    sync_folder(work.path)
    return True
