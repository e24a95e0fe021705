# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A function at work in a child of this process, which may be in another network: this one stays where it is."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h
_LIMIT = 67108864


class Child:
    """`result()` waits for the function's text: None where it gave none, failed, or no child could be made."""

    def __init__(self, function: Callable[[], str | None]) -> None:
        self._text: str | None = None
        self._open = True
        self._reader, writer = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:  # no room for one more process
            os.close(self._reader)
            os.close(writer)
            self._open = False
            return
        if self._pid == 0:
            status = 1
            try:  # whatever happens, the child must not go on as a second module
                os.close(self._reader)
                text = function()
                if text is not None:
                    view = memoryview(text.encode("utf-8"))
                    while view:
                        view = view[os.write(writer, view):]
                    status = 0
            finally:
                os._exit(status)
        os.close(writer)

    def result(self) -> str | None:
        """What the function returned, waiting for it the first time."""
        if self._open:
            self._open = False
            parts = []
            size = 0
            while size < _LIMIT:
                part = os.read(self._reader, 65536)
                if not part:
                    break
                parts.append(part)
                size += len(part)
            os.close(self._reader)
            _pid, status = os.waitpid(self._pid, 0)
            self._text = b"".join(parts).decode("utf-8", "replace") if status == 0 else None
        return self._text


def leave_network() -> bool:
    """Go into a network of our own, that is gone with us; False where the kernel refuses."""
    return _called("unshare", _NETWORK)


def enter_network(path: str) -> bool:
    """Go into the network that a file of nsfs stands for; False where it is gone or refused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _called("setns", handle, _NETWORK)
    finally:
        os.close(handle)


def _called(name: str, *arguments: int) -> bool:
    call = getattr(os, name, None)  # Python 3.12 and later
    if call is not None:
        try:
            call(*arguments)
        except OSError:
            return False
        return True
    import ctypes

    status: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    return status == 0
