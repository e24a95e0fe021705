# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bundle of evidence: a tar.gz in UAC's folder layout, and the manifest that says what each member is.

Members are named by us (`live_response/...`, `[root]/proc/...`); names of the host are data inside members or the manifest's
`source`, so that no file name can leave the folder into which somebody unpacks the bundle.

The manifest stands twice: as the last member of the bundle (`manifest.json`), so that a bundle that lost its neighbour
still explains itself, and beside the bundle, there with the bundle's own SHA-256 and size too, which no member can hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time

from .._errors import HostError
from .._host._workdir import Workdir
from .._text import printable
from ._sink import FileSink, GzipSink, sync_folder

# What we leave free on the host's disk whatever happens: a production server goes on writing its logs.
RESERVE = 33554432
_CHUNK = 262144
_BLOCK = 512
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@~[]/")


def utc(seconds: float | None = None) -> str:
    """A moment (default: now, by the host's clock) as `2026-11-24T04:27:51.123Z`."""
    now = time.time() if seconds is None else seconds
    # divmod on whole milliseconds: rounding the fraction alone could print .1000
    whole, milliseconds = divmod(int(now * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + ".{0:03d}Z".format(milliseconds)


def source_of(source: str | bytes) -> dict[str, str]:
    """Where something came from, as manifest fields: readable always, exact (base64) where reading alone is not exact."""
    text = source.decode("utf-8", "surrogateescape") if isinstance(source, bytes) else source
    shown = printable(text, 4096)
    if shown == text and "\\" not in text:
        return {"source": shown}
    import base64

    raw = text.encode("utf-8", "surrogateescape")
    return {"source": shown, "source_base64": base64.b64encode(raw).decode("ascii")}


class Bundle:
    """A bundle that is being written. Not for use by several threads at once.

    `work`: the case's folder; where it is not writable (check mode) everything is read, counted and hashed, nothing written.
    `max_bytes`: bytes of content (before compression) that the bundle may hold; what goes beyond is cut and said.
    `outcome`: "complete", or "partial" as soon as anything is missing; `missing` lists {"collector", "why"}.
    `collector`: whose members are being added now; it names what is missing.
    `facts`: what the manifest says besides the members; collectors add to it (`host`, `tool`, `clock`).

    Raises HostError where the folder or the file cannot be made, or where there is no room.
    """

    def __init__(self, work: Workdir, tier: str, case: str, max_bytes: int = 268435456) -> None:
        self.work = work
        self.tier = tier
        self.case = case
        self.outcome = "complete"
        self.missing: list[dict[str, str]] = []
        self.members: list[dict[str, object]] = []
        self.facts: dict[str, object] = {}
        self.collector = ""
        self.started = utc()
        self.left = max_bytes
        self._names: set[str] = set()
        self._clock = int(time.time())
        self._folder_synced = False
        self._closed: dict[str, object] | None = None
        self.name, self._sink = self._open()
        self._gzip = GzipSink(self._sink)

    def _open(self) -> tuple[str, FileSink]:
        if not self.work.writable:
            return self._new_name(), FileSink(None)
        self.work.make()
        try:
            room = os.statvfs(self.work.path)
        except OSError as error:
            raise HostError("room in {0} cannot be read: {1}".format(self.work.path, error.strerror)) from error
        free = room.f_bfree * room.f_frsize  # root may use the reserve that a user who fills the disk cannot
        if free < 2 * RESERVE:
            raise HostError(
                "evidence needs at least {0} MiB free in {1}, where {2} MiB are left".format(
                    2 * RESERVE // 1048576, self.work.path, free // 1048576
                )
            )
        self.left = min(self.left, free - RESERVE)
        for attempt in range(50):
            name = self._new_name()
            try:
                return name, FileSink(self.work.file(name))
            except FileExistsError:  # a clock set back, or two runs in one millisecond
                time.sleep(0.002)
            except OSError as error:
                raise HostError(
                    "evidence cannot be written to {0}: {1}".format(self.work.path, error.strerror)
                ) from error
        raise HostError("no free name for evidence in {0}".format(self.work.path))

    def _new_name(self) -> str:
        return "{0}-{1}.tar.gz".format(utc().replace("-", "").replace(":", ""), self.tier)

    @property
    def size(self) -> int:
        """Bytes written to the file so far."""
        return self._sink.size

    def add_bytes(
        self,
        path: str,
        data: bytes,
        source: str | bytes,
        method: str = "direct",
        command: dict[str, object] | None = None,
        outcome: str = "complete",
        why: str = "",
        taken_at: str | None = None,
    ) -> dict[str, object]:
        """Add a member with these bytes; its manifest entry (`path`, `size`, `sha256`, `outcome`, ...).

        `source`: what was read, as the host names it. `method`: "direct", or "command" with `command` {argv, path, sha256}.
        `outcome` "partial" or "failed" with `why` makes the whole bundle partial. Raises HostError where writing fails.
        """
        if len(data) > self.left:
            outcome, why = "partial", "size budget of the bundle is used up"
            data = data[: self.left]
        name = self._begin(path, len(data))
        self._gzip.write(data)
        self._pad(len(data))
        entry = self._entry(name, len(data), hashlib.sha256(data).hexdigest(), source, method, outcome, why, taken_at)
        if command is not None:
            entry["command"] = command
        return entry

    def add_jsonl(
        self, path: str, records: list[dict[str, object]], source: str | bytes, outcome: str = "complete", why: str = ""
    ) -> dict[str, object]:
        """Add records as JSON Lines (ASCII; undecodable bytes stand as lone surrogates U+DC80..DCFF, as Python reads them)."""
        encode = json.JSONEncoder(separators=(",", ":")).encode
        lines = [encode(record) for record in records]
        lines.append("")
        return self.add_bytes(path, "\n".join(lines).encode("ascii"), source, outcome=outcome, why=why)

    def add_fd(self, path: str, handle: int, limit: int, source: str | bytes) -> dict[str, object]:
        """Add the content of an open regular file, at most `limit` bytes of it, streamed; its manifest entry.

        The size is the one at the start: what grows is cut there, what shrinks is padded with zeros; either way, and where
        `limit` cuts, the outcome is partial and says why. The caller keeps the descriptor. Raises HostError.
        """
        stat = os.fstat(handle)
        limit = max(0, min(limit, self.left))
        size = min(stat.st_size, limit)
        why = "" if size == stat.st_size else "cut at {0} of {1} bytes".format(size, stat.st_size)
        name = self._begin(path, size)
        digest = hashlib.sha256()
        done = 0
        while done < size:
            try:
                data = os.pread(handle, min(_CHUNK, size - done), done)
            except OSError as error:
                why = "unreadable from byte {0}: {1}".format(done, error.strerror)
                data = b""
            if not data:
                why = why or "shrank to {0} of {1} bytes, padded with zeros".format(done, stat.st_size)
                data = bytes(min(_CHUNK, size - done))
            self._gzip.write(data)
            digest.update(data)
            done += len(data)
        self._pad(size)
        if not why and os.fstat(handle).st_size > size:
            why = "grew while it was read, cut at {0} bytes".format(size)
        entry = self._entry(name, size, digest.hexdigest(), source, "direct", "partial" if why else "complete", why, None)
        entry["file"] = {
            "uid": stat.st_uid,
            "gid": stat.st_gid,
            "mode": "{0:o}".format(stat.st_mode),
            "dev": stat.st_dev,
            "inode": stat.st_ino,
            "size": stat.st_size,
            "mtime": utc(stat.st_mtime),
            "ctime": utc(stat.st_ctime),
            "atime": utc(stat.st_atime),
        }
        return entry

    def fail(self, collector: str, why: str) -> None:
        """Note that something is missing: the bundle is partial from now on. `why` is ours, no text of the host."""
        self.outcome = "partial"
        self.missing.append({"collector": collector, "why": why})

    def sync(self) -> None:
        """When this returns, everything added so far is *safe*: it can be read back whatever happens next.

        The stream goes on; a bundle cut off after this is a readable archive up to here. Raises HostError.
        """
        self._gzip.sync()
        if self.work.writable and not self._folder_synced:
            sync_folder(self.work.path)
            self._folder_synced = True

    def close(self) -> dict[str, object]:
        """End the bundle, write its manifest beside it, both synced. Raises HostError. A second call answers the same.

        {"bundle", "sha256", "size", "manifest", "manifest_sha256", "manifest_size", "files", "outcome", "missing"}; the
        names are those of files in the work folder, None in check mode.
        """
        if self._closed is not None:
            return self._closed
        manifest: dict[str, object] = {"format": "firebreak-manifest-1", "case": self.case, "tier": self.tier}
        manifest.update(self.facts)
        manifest.update(
            {
                "bundle": {"name": self.name},
                "started_at": self.started,
                "ended_at": utc(),
                "outcome": self.outcome,
                "missing": self.missing,
                "members": self.members,
            }
        )
        inner = json.dumps(manifest, indent=1).encode("ascii")
        self.left = max(self.left, len(inner))  # the manifest is never what the budget cuts
        files = len(self.members)
        name = self._begin("manifest.json", len(inner))
        self._gzip.write(inner)
        self._pad(len(inner))
        self._gzip.write(bytes(2 * _BLOCK))  # POSIX: an archive ends with two empty blocks
        sha256 = self._gzip.close()
        manifest["bundle"] = {"name": self.name, "sha256": sha256, "size": self._sink.size, "manifest_member": name}
        outer = json.dumps(manifest, indent=1).encode("ascii")
        beside = self.name[: -len(".tar.gz")] + ".manifest.json"
        if self.work.writable:
            self.work.write(beside, outer)
        self._closed = {
            "bundle": self.name if self.work.writable else None,
            "sha256": sha256,
            "size": self._sink.size,
            "manifest": beside if self.work.writable else None,
            "manifest_sha256": hashlib.sha256(outer).hexdigest(),
            "manifest_size": len(outer),
            "files": files,
            "outcome": self.outcome,
            "missing": self.missing,
        }
        return self._closed

    def _begin(self, path: str, size: int) -> str:
        """Write a member's header; the name it got (a name used before gets a number)."""
        if self._closed is not None:
            raise ValueError("the bundle is closed")
        if not set(path) <= _NAME or path[:1] == "/" or ".." in path.split("/"):
            raise ValueError("member name {0!r} is not one of ours".format(path))
        name = path
        number = 2
        while name in self._names:
            name = "{0}~{1}".format(path, number)
            number += 1
        self._names.add(name)
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o600
        member.mtime = self._clock
        member.uname = member.gname = "root"
        self._gzip.write(member.tobuf(tarfile.USTAR_FORMAT))
        return name

    def _pad(self, size: int) -> None:
        self.left -= size
        if size % _BLOCK:
            self._gzip.write(bytes(_BLOCK - size % _BLOCK))

    def _entry(
        self,
        name: str,
        size: int,
        sha256: str,
        source: str | bytes,
        method: str,
        outcome: str,
        why: str,
        taken_at: str | None,
    ) -> dict[str, object]:
        entry: dict[str, object] = {"path": name, "size": size, "sha256": sha256}
        entry.update(source_of(source))
        entry.update({"method": method, "outcome": outcome, "taken_at": taken_at or utc()})
        if why:
            entry["why"] = why
        if outcome != "complete":
            self.fail(self.collector or "bundle", "{0}: {1}".format(name, why or outcome))
        self.members.append(entry)
        return entry
