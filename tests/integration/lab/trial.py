# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All channels of a host at work at once, for as long as it takes, and one ear at its wires."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import hosts
from tests.lab.machine import inside, run, space

from .channels import CHANNELS, COMMON, ELSE, EVERY, FRAMES, IN, LATER, LIVE, NEW, NUMBERS, PAST, far_configs, host_config, wire_config

WITHIN = 5.0  # seconds in which an interface that comes later must be covered
_WAYS = {"L": LIVE, "N": NEW}
_SECOND, _LATER = ("eth9", "10.67.0"), ("eth8", "10.69.0")
Counts = dict[tuple[str, str], int]
# The first text as the module at_work, the second as the program: where they run there is neither's file.
_BOTH = """
import sys, types
sys.modules["at_work"] = types.ModuleType("at_work"); exec(sys.argv.pop(1), sys.modules["at_work"].__dict__); exec(sys.argv.pop(1))
"""
# Sends into a host, from the other end of its wire.
_INTO = """
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((sys.argv[1], 0))
print("ready", flush=True)
while not select.select([sys.stdin], [], [], float(sys.argv[3]))[0]: s.send(bytes.fromhex("ffffffffffff0266000001fe88b5") + sys.argv[2].encode())
"""


class Trial:
    """Between its beginning and its end both ends of every channel go on sending. Counts are packets by (channel, way)."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._programs: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Trial:
        ready = False
        try:
            for device, net in (_SECOND, _LATER):
                self._unplug(device)
                self._plug(device, net)
            wires = [f"p-{self.host}", *(self._end(device) for device, _net in (_SECOND, _LATER))]
            self._ear = self._start("at_wire.py", inside("wire", [sys.executable]), wire_config(self.host, wires))
            self._begin(["nsenter", "-t", str(hosts.leader(self.host)), "-a", "--", "python3"])
            ready = True
            return self
        finally:
            if not ready:
                self.close()

    def __exit__(self, *_what: object) -> None:
        self.close()

    def _begin(self, there: list[str]) -> None:
        self._far = [self._start("at_far_end.py", inside(role, [sys.executable]), config) for role, config in far_configs(self.host).items()]
        self._near = self._start("at_host.py", there, host_config(self.host))
        for far in self._far:
            self._ask(far, "call")

    def close(self) -> None:
        """Nothing is left, on the host and beside it."""
        for program in reversed(self._programs):
            with program:
                assert program.stdin is not None
                try:
                    program.stdin.close()
                except BrokenPipeError:
                    pass
                try:
                    program.wait(10)
                except subprocess.TimeoutExpired:
                    program.kill()
        self._programs.clear()
        for device, _net in (_SECOND, _LATER):
            self._unplug(device)

    def _start(self, name: str, python: list[str], config: dict[str, object]) -> subprocess.Popen[str]:
        shared, program = (Path(__file__).with_name(one).read_text(encoding="utf-8") for one in ("at_work.py", name))
        return self._run(name, [*python, "-c", _BOTH, shared, program, json.dumps(config)])

    def _run(self, name: str, argv: list[str]) -> subprocess.Popen[str]:
        program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._programs.append(program)
        assert program.stdout is not None and program.stdout.readline() == "ready\n", f"{name} does not begin"
        return program

    @staticmethod
    def _ask(program: subprocess.Popen[str], what: str) -> str:
        assert program.stdin is not None and program.stdout is not None
        program.stdin.write(what + "\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        assert answer, f"a program has ended at {what}"
        return answer

    def _end(self, device: str) -> str:
        return f"{device[-1]}-{self.host}"

    def _plug(self, device: str, net: str) -> None:
        """One more wire of the host's, whose other end is the router's."""
        for line in (f"link add {self._end(device)} type veth peer name {device} netns {space(self.host)}",
                     f"address add {net}.1/24 dev {self._end(device)}", f"link set {self._end(device)} up"):
            run(["ip", "-n", space("wire"), *line.split()])
        for line in (f"address add {net}.2/24 dev {device}", f"link set {device} up"):
            run(["ip", "-n", space(self.host), *line.split()])

    def _unplug(self, device: str) -> None:
        run(["ip", "-n", space("wire"), "link", "delete", self._end(device)], check=False)

    def counts(self) -> Counts:
        """Everything since the beginning."""
        found: Counts = dict.fromkeys(((name, way) for name, ways in CHANNELS.items() for way in ways), 0)
        found[ELSE, NEW] = 0
        found.update(self._heard())
        for name, count in json.loads(self._ask(self._near, "counts")).items():
            if IN in CHANNELS.get(name, ()):
                found[name, IN] = count
        return found

    def _heard(self) -> Counts:
        names = {number: name for name, number in NUMBERS.items()}
        found: Counts = {}
        for key, count in json.loads(self._ask(self._ear, "counts")).items():
            way, _blank, number = key.partition(" ")
            found[(names[int(number)], _WAYS[way]) if number else (ELSE, NEW)] = count
        return found

    def void(self, seconds: float = 15) -> list[str]:
        """The channels that do not lead anywhere, after these seconds at most, and so prove nothing."""
        deadline = time.monotonic() + seconds
        while True:
            silent = [f"{name} ({way})" for (name, way), count in self.counts().items() if not count and name != ELSE]
            if not silent or time.monotonic() > deadline:
                return silent
            time.sleep(0.3)

    def pause(self) -> None:
        """Nothing is opened anew any more, and the interface that comes later is not there."""
        for program in (self._near, *self._far):
            self._ask(program, "off")
        self._unplug(_LATER[0])

    def resume(self) -> None:
        """Open everything anew again, from now on; the interface that comes later comes now."""
        self._plug(*_LATER)
        for program in (self._near, *self._far):
            self._ask(program, "on")

    def heard(self, seconds: float) -> Counts:
        """What is heard from now on, in these seconds; of an interface that comes later, after those in which it must be covered.

        `seconds` more than WITHIN.
        """
        began = self.counts()
        time.sleep(WITHIN)
        middle = self.counts()
        time.sleep(max(0.0, seconds - WITHIN))
        return {place: count - (middle if place[0] in LATER else began)[place] for place, count in self.counts().items()}


class Past(Trial):
    """The same for what goes past every rule of the host."""

    def _begin(self, there: list[str]) -> None:
        into = f"order-to-here:L:{NUMBERS['xdp-tx']:03d};"
        self._run("into", inside("wire", [sys.executable, "-c", _INTO, self._end(_SECOND[0]), into, str(EVERY)]))
        self._start("at_host_past.py", there, COMMON)

    def counts(self) -> Counts:
        """Everything since the beginning."""
        return {**dict.fromkeys(((name, LIVE) for name in PAST), 0), **self._heard()}

    def soon(self, seconds: float = 2) -> Counts:
        """What is heard from now on, in these seconds."""
        began = self.counts()
        time.sleep(seconds)
        return {place: count - began.get(place, 0) for place, count in self.counts().items()}


def said(result: dict, name: str, way: str) -> bool:
    """Whether the result names what a channel shows, by the cover that its proof tells of."""
    lines, cover = result["not_covered"], result["proof"]["layer2"]["cover"]
    if name not in FRAMES:
        return False
    if name == "packet-socket-that-hears-all":
        return any("before any rule" in line for line in lines)
    if cover == "none":
        return any(line.startswith("layer 2: frames that never meet the IP layer") for line in lines)
    return cover == "tc" and name == "packet-socket-past-the-queue" and way != IN and any("QDISC_BYPASS" in line for line in lines)


def rows_of(counts: Counts, cell: tuple[str, str], result: dict | None) -> list[dict[str, object]]:
    """A row for each channel, with what came by each way; `result`: of the isolation, None where nobody says what is open."""
    rows = []
    for name, ways in {**CHANNELS, ELSE: (NEW,)}.items():
        heard = {way: counts[name, way] for way in ways}
        leaks = [way for way, count in heard.items() if count and not (result is not None and said(result, name, way))]
        got = ", ".join(f"{count} {way}" for way, count in heard.items() if count)
        expected = 0 if result is None or not any(said(result, name, way) for way in ways) else "0, or said"
        rows.append({"case": name, "release": cell[0], "backend": cell[1], "expected": expected if result is not None else "reported only",
                     "got": f"{got}, said" if got and not leaks else got or 0, "holds": not leaks, "ways": list(ways), **heard})
    return rows
