# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a case is still on the host: processes that we stopped, cron tables that we changed, evidence that nobody has fetched."""

from __future__ import annotations

import os
import stat

from ._arguments import strings
from ._errors import FirebreakError
from ._evidence._fetch import is_bundle, manifest_of
from ._host._workdir import Workdir

_NAMED = 4  # a reason has 600 characters


def evidence(work: Workdir, but_last: bool = False) -> list[str]:
    """A sentence on the bundles that lie in the work folder, none where there are none.

    A bundle that has arrived is removed, so these were never fetched whole. `but_last`: the controller is about to take the last one.
    """
    found = []
    try:
        names = sorted(filter(is_bundle, os.listdir(work.path)))
    except OSError:
        return []
    for name in names[:-1] if but_last else names:
        try:
            entry = os.lstat(work.file(name))
        except OSError:
            continue
        if stat.S_ISREG(entry.st_mode):
            whole = os.path.lexists(work.file(manifest_of(name)))  # written last
            found.append("{0} ({1} bytes{2})".format(work.file(name), entry.st_size, "" if whole else ", cut short"))
    if not found:
        return []
    more = " and {0} more".format(len(found) - _NAMED) if len(found) > _NAMED else ""
    return ["evidence that was never fetched whole stays on the host: {0}{1}; copy it from there".format(", ".join(found[:_NAMED]), more)]


def remains(work: Workdir, but_last: bool = False, root: str = "/proc") -> list[str]:
    """A sentence on each kind of thing of this case that is still on the host. `but_last`: as for `evidence`."""
    from ._processes._freeze import thaw  # a release needs it not

    try:
        stopped = thaw(Workdir(work.case, work.root, writable=False), root)[0]
        state = work.read()
    except FirebreakError as error:
        return [str(error)]
    said = []
    if stopped:
        names = list(dict.fromkeys(str(one["name"]) for one in stopped if one.get("name")))
        said.append("{0} processes stay stopped{1}: suspicious_process with state: released lets them go on".format(
            len(stopped), " ({0})".format(", ".join(names[:_NAMED])) if names else ""))
    tables = state.get("disabled")
    if isinstance(tables, list) and tables:
        said.append("{0} cron tables stay changed: suspicious_process with state: released gives them back".format(len(tables)))
    return said + evidence(work, but_last)


def told(work: Workdir, result: dict[str, object], received: bool = False) -> dict[str, object]:
    """The result of a second run; where the isolation was taken back, with what remains, by which the host is not as it was before.

    `received`: the controller has what the first run offered.
    """
    if not result.get("rolled_back"):
        return result
    # A run that came to its end has offered its bundle, which the controller fetches after this or says why not.
    offered = bool(result.get("steps")) and not received and not work.read().get("run")
    said = remains(work, offered)
    result["reasons"] = [*strings(result["reasons"]), *said]
    result["changed"] = bool(result["changed"]) or bool(said)
    return result
