# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a case lies on the controller, and what its files may be called."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.plugin_utils._errors import CaseError, PolicyError

DEFAULT = "~/.local/share/firebreak/cases"
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
# Set by AWX and ansible-runner for the job's own folder, which goes with the pod.
_PRIVATE = ("AWX_PRIVATE_DATA_DIR", "AWX_ISOLATED_DATA_DIR")


def check_case(name: str, case: object) -> str:
    """The case's name, if it can be a folder's. `name` is what to call the option in the message. Raises PolicyError."""
    if not isinstance(case, str) or not case or len(case) > 64 or case[0] in ".-" or not set(case) <= _ALLOWED:
        raise PolicyError(name, case, "1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . or -")
    return case


def host_name(host: str) -> str:
    """An inventory name as the name of a folder: other characters as %XX, one name each, at most 128 characters."""
    name = "".join(
        (
            char
            if char in _ALLOWED and not (char in ".-" and index == 0)
            else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
        )
        for index, char in enumerate(host)
    )
    if len(name) > 128:
        name = name[:96] + "%" + hashlib.sha256(name.encode("ascii")).hexdigest()[:31]
    return name or "%"


def in_job(environ: Mapping[str, str], job: bool = False) -> bool:
    """Whether this runs in an AWX or ansible-runner job, whose own files vanish with it."""
    return job or any(name in environ for name in _PRIVATE) or ("JOB_ID" in environ and "INVENTORY_ID" in environ)


def place(chosen: str | None, environ: Mapping[str, str], job: bool = False) -> str:
    """The absolute folder of all cases: `chosen` (firebreak_cases_dir) or the default.

    `job`: the play has AWX's variables. Raises PolicyError for a folder that vanishes with an AWX job.
    """
    path = os.path.abspath(os.path.expanduser(chosen or DEFAULT))
    if not in_job(environ, job):
        return path
    advice = "name a folder on a volume that outlives the job"
    if chosen is None:
        raise PolicyError(
            "firebreak_cases_dir", None, "it has no default in an AWX job, whose home vanishes with the pod; " + advice
        )
    real = os.path.realpath(path)
    private = [environ[name] for name in _PRIVATE if environ.get(name)] + ["/runner", "/home/runner"]
    for folder in private:
        if os.path.commonpath([real, os.path.realpath(folder)]) == os.path.realpath(folder):
            raise PolicyError(
                "firebreak_cases_dir",
                chosen,
                f"it lies in the job's private folder {folder}, which vanishes with the job; {advice}",
            )
    return path


def private_folder(path: str) -> str:
    """Make the folder, mode 0700, or check that it is ours and no link. Raises CaseError."""
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        entry = os.lstat(path)
        if stat.S_ISDIR(entry.st_mode) and entry.st_uid == os.geteuid():
            if entry.st_mode & 0o077:
                os.chmod(path, 0o700)
            return path
    except OSError as error:
        raise CaseError(f"firebreak_cases_dir: {path!r} cannot be made: {error.strerror}") from error
    raise CaseError(
        f"firebreak_cases_dir: {path!r} is a link or belongs to somebody else; a case must lie in a folder of your own. "
        "To go on with another one's case on a host, take another firebreak_cases_dir and the same case name"
    )


class CaseFolder:
    """`<cases>/<case>`: made on opening, every folder 0700, every file 0600."""

    def __init__(self, cases: str, case: str) -> None:
        """Raises CaseError where the folder cannot be had."""
        try:
            os.makedirs(cases, mode=0o700, exist_ok=True)
        except OSError as error:
            raise CaseError(f"firebreak_cases_dir: {cases!r} cannot be made: {error.strerror}") from error
        self.case = case
        self.path = private_folder(os.path.join(cases, case))

    @property
    def ledger(self) -> str:
        """The path of the ledger."""
        return os.path.join(self.path, "ledger.jsonl")

    def evidence_of(self, host: str) -> str:
        """The folder for evidence of a host, made where it is missing."""
        private_folder(os.path.join(self.path, "evidence"))
        return private_folder(os.path.join(self.path, "evidence", host_name(host)))

    def relative(self, path: str) -> str:
        """A path of the case as the ledger names it."""
        return os.path.relpath(path, self.path)


def sync_folder(path: str) -> None:
    """What was created or renamed in the folder survives a power cut when this returns. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
