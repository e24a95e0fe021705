# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of README.md from what was measured: `./dev bench` and `./dev matrix NAME` run it at their end."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FIGURES = ROOT / "benchmarks/results.json"
LEAKS = ROOT / "benchmarks/leaks.json"
OUTPUT = ROOT / "tests/output"
# The matrix of what other ways let out; it stands in the README beside ours, in groups.
OTHERS = "others"
OURS = "Firebreak"
CELLS = 6  # three releases with two backends: what is said of ours is said of all
RELEASES = 3
# How a channel is tried, as the rows of the leaks have it.
WAYS = ("live", "new", "in")
# Channels that belong together, by a pattern of their names; the first that fits counts.
GROUPS = {
    "IPv4: TCP, UDP, ICMP, SCTP, GRE, IP in IP, fragments": r"(tcp|udp|sctp|gre|ip-in-ip|fragments|icmp-with-payload)-ipv4",
    "IPv6: the same, the neighbour, the link, multicast":
        r"(tcp|udp|sctp|gre|ip-in-ip|fragments|icmp-with-payload|neighbour|link-local|multicast)-ipv6|link-local-ipv6",
    "port 53 of anyone": r"(tcp|udp)-53-ipv[46]",
    "the neighbour, broadcast, multicast": r"neighbour-(tcp|udp)|broadcast.*|multicast-ipv4",
    "the cloud's metadata address": r"metadata-address.*",
    "what looks like something allowed: source port, source address, user": r"source-port-.*|spoofed-source|user-of-an-allowed-daemon",
    "allowed systems: other ports, other protocols": r"allowed-system-.*",
    "a container behind a bridge, its published port": r"container-.*",
    "a second interface, a macvlan, an interface added later": r"second-interface|macvlan|interface-added-later",
    "frames of packet sockets and macvlans, odd types, VLAN tags":
        r"packet-socket-(ipv.|past-the-queue)|odd-ethertype|vlan-tag|ethertype-.*|frame-by-.*|macvlan-in-.*",
    "what a packet socket for all types hears": r"packet-socket-that-hears-all",
    "AF_XDP, XDP_TX, tcx redirects, interfaces moved away": r"af-xdp|xdp-tx|tcx-redirect|interface-moved-away",
    "inbound IPv4": r"inbound-(?!.*ipv6).*",
    "inbound IPv6": r"inbound-.*-ipv6",
    "whatever else the host sends": r"anything-else",
}


def figures(rows: list[dict]) -> str:
    """Figures of the benches, a line each."""
    lines = ["| what | measured | against | ratio | at most | |", "|---|---|---|---|---|---|"]
    for row in rows:
        word = {True: "holds", False: "**does not hold**", None: "reported"}[row["holds"]]
        limit = "" if row["limit"] is None else row["limit"]
        lines.append(f"| {row['name']} | {row['value']:.3g} {row['unit']} | {row['against']:.3g} {row['unit']} | {row['ratio']:.2f} | {limit} | {word} |")
    return "\n".join(lines)


def matrix(rows: list[dict]) -> str:
    """Cases down, cells (release and backend) across: what was expected and seen; beside a case the ways in which it was tried."""
    cells = sorted({(row["backend"], row["release"]) for row in rows}, reverse=True)
    got = {(row["case"], row["backend"], row["release"]): row for row in rows}
    lines = ["| case | " + " | ".join(f"{release}, {backend}" for backend, release in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    ways = {row["case"]: f" ({', '.join(row['ways'])})" for row in rows if "ways" in row}
    for case in dict.fromkeys(row["case"] for row in rows):
        shown = []
        for cell in cells:
            row = got.get((case, *cell))
            shown.append("not run" if row is None else f"{row['got']}" if row["holds"] else f"**{row['got']}, not {row['expected']}**")
        lines.append(f"| {case}{ways.get(case, '')} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def group(case: str) -> str:
    """The group of a channel. Raises ValueError for one that belongs nowhere."""
    for name, pattern in GROUPS.items():
        if re.fullmatch(pattern, case):
            return name
    raise ValueError(f"channel {case} is in no group of {Path(__file__).name}")


def condensed(way: str, rows: list[dict]) -> list[dict]:
    """Cases of one way -> {way, group, channels, leaks, live, new, in, said} for each group: how many of the channels leak, and how many of
    those by which way; said: channel that is open and named by the result -> the releases on which it is."""
    found = []
    for name in GROUPS:
        of = [row for row in rows if group(row["case"]) == name]
        bad = [row for row in of if not row["holds"]]
        said: dict[str, set[str]] = {}
        for row in of:
            if row["holds"] and any(row.get(one) for one in WAYS):  # what comes and holds is named; what is named may be shut
                said.setdefault(row["case"], set()).add(row["release"])
        found.append({"way": way, "group": name, "channels": len({row["case"] for row in of}), "leaks": len({row["case"] for row in bad}),
                      **{one: len({row["case"] for row in bad if row.get(one)}) for one in WAYS},
                      "said": {case: sorted(releases, reverse=True) for case, releases in said.items()}})
    return found


def _open(said: dict[str, list[str]]) -> str:
    """What is open and said, channel by channel; with the releases, where it is not so on all of them."""
    shown = [case if len(releases) == RELEASES else f"{case} ({', '.join(releases)})" for case, releases in said.items()]
    return f"; open and said: {', '.join(shown)}" if shown else ""


def ways(rows: list[dict]) -> str:
    """Groups of channels down, ways of isolating across: how many of the channels leak."""
    names = list(dict.fromkeys(row["way"] for row in rows))
    lines = ["| channels | how many | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    cells = {(row["way"], row["group"]): row for row in rows}
    for name in GROUPS:
        shown = []
        for way in names:
            row = cells[way, name]
            by = ", ".join(f"{row[one]} {one}" for one in WAYS if row[one])
            text = f"**{row['leaks']} leak**" + (f": {by}" if by else "") if row["leaks"] else "0"
            shown.append(text + _open(row["said"]) if row["channels"] else "not run")
        lines.append(f"| {name} | {cells[names[0], name]['channels']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def refreshed(rows: list[dict], output: Path) -> list[dict]:
    """The rows of LEAKS with those of the matrices that were run here in place of the old ones; ours once every cell was run."""
    new: dict[str, list[dict]] = {}
    for name in ("leaks", OTHERS):
        path = output / f"matrix-{name}.json"
        for row in json.loads(path.read_text(encoding="utf-8")) if path.exists() else []:
            new.setdefault(OURS if name == "leaks" else row["backend"], []).append(row)
    if len({(row["release"], row["backend"]) for row in new.get(OURS, [])}) < CELLS:
        new.pop(OURS, None)
    found = {row["way"]: [one for one in rows if one["way"] == row["way"]] for row in rows}
    found.update({way: condensed(way, of) for way, of in new.items()})
    return [row for way in sorted(found, key=lambda way: way != OURS) for row in found[way]]


def placed(text: str, name: str, table: str) -> str:
    """The text with the table between the marks of its name. Raises ValueError where the marks are missing."""
    begin, end = f"<!-- {name}: generated, do not edit -->\n", f"\n<!-- end of {name} -->"
    changed, count = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _match: begin + table + end, text, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"{README.name} has no place for {name}")
    return changed


def main() -> None:
    """Write every table whose data there is."""
    text = placed(README.read_text(encoding="utf-8"), "figures", figures(json.loads(FIGURES.read_text(encoding="utf-8"))))
    leaks = refreshed(json.loads(LEAKS.read_text(encoding="utf-8")), OUTPUT)
    LEAKS.write_text(json.dumps(leaks, indent=1) + "\n", encoding="utf-8")
    text = placed(text, "ways", ways(leaks))
    for path in sorted(OUTPUT.glob("matrix-*.json")):
        name = path.stem.removeprefix("matrix-")
        if name != OTHERS:
            text = placed(text, name, matrix(json.loads(path.read_text(encoding="utf-8"))))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
