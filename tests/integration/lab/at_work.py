# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the programs of a trial do alike: send every so often, read what comes, and do as their input says, in one thread."""

from __future__ import annotations

import selectors
import sys
import time


class Loop:
    """live: functions that send once. Whoever takes it over has `tick`, `read(socket, what)` and `obey(line)`, which gives the answer."""

    def __init__(self, every):
        self.every = every
        self.live = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ, "input")

    def attend(self, s, what):
        """Read from this socket from now on."""
        s.setblocking(False)
        self.selector.register(s, selectors.EVENT_READ, what)

    def send(self):
        """Once on everything that is live."""
        for send in self.live:
            try:
                send()
            except OSError:
                continue

    def go(self):
        """Until the input ends."""
        due = time.monotonic()
        while True:
            for key, _events in self.selector.select(max(0.0, due - time.monotonic())):
                if key.data != "input":
                    self.read(key.fileobj, key.data)
                    continue
                line = sys.stdin.readline().strip()
                if not line:
                    return
                print(self.obey(line), flush=True)
            if time.monotonic() >= due:
                due = max(due + self.every, time.monotonic() + self.every / 4)
                self.tick()
