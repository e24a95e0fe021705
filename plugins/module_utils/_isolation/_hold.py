# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A confirmed isolation -> the systemd unit and the rule files that hold it. Pure: runs nothing.

The unit loads the rules before the network is up and looks at them every other second: what somebody has changed is put back, and
said once. Where nft knows tables with an owner, it also keeps a second copy of the rules in one, which nobody else can flush or
delete, so that nothing passes in between. No program of ours stays on the host, only this text, which the host's own shell runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from .._text import printable
from ._commands import HELD, TABLE
from ._layer2 import BARE, MOST

if TYPE_CHECKING:
    from typing import Mapping

WANTED_BY = "sysinit.target"
SECONDS = 2
# Whose rules are loaded or flushed when they start; ours come after theirs.
_OTHERS = ("nftables", "netfilter-persistent", "iptables", "ip6tables", "ufw", "firewalld", "shorewall", "shorewall6")
RECORDS = ("drift", "fallback")  # what the unit writes for us to read
_DRIFT_LIMIT = 65536  # bytes of the file that says what was put back
ETHERNET, BARE_DEVICES = "of-ethernet", "of-others"  # stand for the devices in the files of rules for frames


def owned(rules: str, family: str) -> str:
    """Rules for a table of ours, for the copy that belongs to whoever loads it: nft(8), `flags owner`."""
    head = "add table {0} {1}\ndelete table {0} {1}\ntable {0} {1} {{\n".format(family, TABLE)
    if not rules.startswith(head):
        raise ValueError("these are no rules of ours")
    # A chain says whose isolation this is; the copy's says the same.
    return "add table {0} {1} {{ flags owner; }}\ndelete table {0} {1}\ntable {0} {1} {{\n\tflags owner\n{2}".format(
        family, HELD, rules[len(head):])


# In all of them @WORD@ stands for what `scripts` puts there. A line must not begin with # or ;, which a unit takes for a comment.
# Without its folder there is nothing to load: it waits, for the service manager writes a line at each new start.
_HEAD = """\
exec 3>&2 2>/dev/null
cd @FOLDER@ || { sleep 30; exit 1; }
say() {
  echo "<4>case=@CASE@ $1" >&3
  if ! [ -s drift ] || [ "$(wc -c <drift)" -lt @LIMIT@ ]; then echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" >>drift; fi
}
minimal() {
  for p in iptables ip6tables; do
    if ! "$p" -C INPUT -j FIREBREAK-INPUT; then "$p-restore" --noflush -w 5 <"$p.minimal" && : >fallback; fi
  done
}
"""
_NFT = """\
full() { @NFT@ -f nft.rules; }
load() { full || @NFT@ -f nft.minimal || minimal; }
list() { @NFT@ -n -s list table inet @TABLE@; }
"""
# awk(1) merges: as many jumps of ours are taken out as there are, in the transaction that puts one in the first place.
_IPTABLES = """\
full() {
  for p in @PROGRAMS@; do
    "$p-save" | awk '
      /^[*]/ { table = $0 }
      before { if ($1 == "-A" && $3 == "-j" && NF == 4 && $4 ~ /^FIREBREAK-/) jumps[table $2 $4]++; next }
      $1 == "-I" { for (i = jumps[table $2 $5]; i > 0; i--) print "-D", $2, "-j", $5 }
      { print }' before=1 - before= "${p##*/}.rules" | "$p-restore" --noflush -w 5 || return 1
  done
}
load() { full || minimal; }
list() {
  for p in @PROGRAMS@; do
    "$p-save" | awk '
      /^[*]/ { table = $0; split("", seen) }
      /^-A FIREBREAK-/ { print; next }
      table == "*filter" && /^-A (INPUT|FORWARD|OUTPUT) / && !seen[$2]++ { print }
      table == "*mangle" && /^-A POSTROUTING / && !seen[$2]++ { print }'
  done
}
"""
_LOOK = """\
left=" $(cat left) " devices=''
look() {
  e='' b='' many=0
  found=$(for p in /sys/class/net/*; do read -r index <"$p/ifindex" && echo "$index ${p##*/}"; done | sort -n)
  set -f
  for d in $found; do
    set +f
    case $d in *[!A-Za-z0-9._@-]* | [!A-Za-z0-9]*) continue;; esac
    case $left in *" $d "*) continue;; esac
    read -r type <"/sys/class/net/$d/type" || continue
    if [ "$many" -ge @MOST@ ]; then break; fi
    case $type in 1) many=$((many + 1)) e="$e, \\"$d\\"";; @TYPES@) many=$((many + 1)) b="$b, \\"$d\\"";; esac
  done
  set +f
  [ -n "$e$b" ]
}
"""
_FRAMES = """\
fill() { sed -e "s/\\"@ETHERNET@\\"/${e#, }/" -e "s/\\"@BARE@\\"/${b#, }/" $without "$1"; }
frames() {
  if ! look; then return; fi
  without=''
  if [ "$e/$b" = "$devices" ] && @NFT@ -n -s list table netdev @TABLE@ | cmp -s - frames.seen; then return; fi
  if [ -z "$e" ]; then without='-e /chain.*_ethernet/,/}$/d'; fi
  if [ -z "$b" ]; then without='-e /chain.*_bare/,/}$/d'; fi
  fill frames.rules >frames.now
  if ! @NFT@ -f frames.now; then
    if [ "$devices" != failed ]; then say 'the rules for frames cannot be loaded'; fi
    devices=failed
    return
  fi
  @NFT@ -n -s list table netdev @TABLE@ >frames.seen
  fill frames.held >frames.mine
  echo "include \\"$PWD/frames.mine\\""
  if [ "$e/$b" = "$devices" ]; then say 'the rules for frames had been changed or removed; they are put back'
  elif [ -n "$devices" ]; then say 'the interfaces have changed, and the rules for frames with them'; fi
  devices=$e/$b
}
"""
# What the kernel makes of the rules is what is compared with later.
_ONCE = """\
if full; then list >seen; else
  load
  say 'the rules could not be loaded as they were; nothing but the management path is open'
fi
@FRAMES@ >/dev/null
"""
# What it prints goes to nft, whose table stands as long as both live; an empty line shows whether nft does.
_LOOP = """\
hold() {
  told=''
  @FIRST@
  while echo; do
    @FRAMES@
    if list | cmp -s - seen; then told=''; else
      load
      if [ -z "$told" ]; then
        told=yes
        if list | cmp -s - seen; then say 'the rules had been changed or removed; they are put back'
        else say 'the rules had been changed or removed and cannot be put back as they were'; fi
      fi
    fi
    sleep @SECONDS@
  done
}
hold | @KEEPER@ >/dev/null
"""


# Said once for as long as there is something to take down at every look.
_DOWN = """\
lower() {
  now=''
  while read -r d; do
    if read -r flags <"/sys/class/net/$d/flags" && [ $((flags & 1)) = 1 ] && @IP@ link set dev "$d" down </dev/null; then now=yes; fi
  done <down >/dev/null
  if [ -n "$now" ] && [ -z "$up" ]; then say 'an interface had come up; it is taken down again'; fi
  up=$now
}
"""


def scripts(
    case: str, folder: str, programs: Sequence[str], nft: str | None, by_nft: bool, frames: bool, watch: bool,
    tc: str | None = None,
) -> tuple[str, str]:
    """(what loads the rules once, what holds them from then on), for sh(1); `folder` holds the rule files.

    `programs`: iptables and ip6tables by path, where they carry the isolation; `frames`: there are rules for frames, which are
    programs that `tc` loads, where it is given.
    """
    held_back = _FRAMES
    words: dict[str, str] = {}
    if tc is not None:
        from . import _hold_tc

        held_back, words = _hold_tc.FRAMES, _hold_tc.values(tc)
    values = {
        "CASE": case, "FOLDER": folder, "MOST": str(MOST), "LIMIT": str(_DRIFT_LIMIT), "TABLE": TABLE, "NFT": nft or "nft", "PROGRAMS": " ".join(programs),
        "SECONDS": str(SECONDS), "ETHERNET": ETHERNET, "BARE": BARE_DEVICES, "TYPES": " | ".join(map(str, BARE)),
        "FIRST": 'echo "include \\"$PWD/held.rules\\""' if nft is not None else ":", "FRAMES": "frames" if frames else ":",
        "KEEPER": nft + " -i" if nft is not None else "cat", **words,
    }
    head = _HEAD + (_NFT if by_nft else _IPTABLES) + (_LOOK + held_back if frames else "")
    loading, holding = head + _ONCE, head + _LOOP if watch else ""
    for word, meant in values.items():
        loading, holding = loading.replace("@{0}@".format(word), meant), holding.replace("@{0}@".format(word), meant)
    return loading, holding


def keeping_down(holding: str, ip: str) -> str:
    """The script that holds an isolation, with the interfaces of the file `down` kept down too; `ip`: the program's path."""
    return holding.replace("hold() {\n", _DOWN.replace("@IP@", ip) + "hold() {\n").replace("  while echo; do\n", "  while echo; do\n    lower\n")


def unit(case: str, folder: str, loading: str, holding: str, persist: bool) -> str:
    """The unit's text; `folder` holds the rule files."""
    lines = [
        "# Holds the network isolation of this host for the incident {0}. A release takes it away.".format(case),
        "[Unit]", "Description=Firebreak holds the network isolation of case {0}".format(case), "DefaultDependencies=no",
        "RequiresMountsFor=" + folder, "After=systemd-sysctl.service systemd-modules-load.service",
        "After=" + " ".join(name + ".service" for name in _OTHERS), "Before=network-pre.target", "Wants=network-pre.target",
        # Not stopped at shutdown: the rules are in force until there is no network any more.
        "IgnoreOnIsolate=yes", "StartLimitIntervalSec=0",
        "[Service]", "Environment=LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin", "UMask=0077",
        "SyslogIdentifier=incident_response", "SyslogFacility=auth",
        # The journal is evidence: whoever plays with the rules shall not be able to push it out.
        "LogRateLimitIntervalSec=1h", "LogRateLimitBurst=60", "OOMScoreAdjust=-1000", "TimeoutStartSec=60",
        "ExecStartPre=-/bin/sh -c " + quoted(loading),
    ]
    if holding:
        lines += ["Restart=always", "RestartSec=200ms", "ExecStart=/bin/sh -c " + quoted(holding)]
    else:
        lines += ["Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true"]
    if persist:
        lines += ["[Install]", "WantedBy=" + WANTED_BY]
    return "\n".join(lines) + "\n"


def quoted(script: str) -> str:
    """A script as one argument in a unit: systemd.service(5), "Command lines"."""
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("$", "$$"), ("%", "%%")):
        script = script.replace(plain, written)
    return '"' + "\\n\\\n".join(script.rstrip("\n").split("\n")) + '"'


def drift(text: str) -> list[dict[str, str]]:
    """What the unit has put back: [{"at": UTC time, "what"}], at most the last hundred."""
    found = []
    for line in text.splitlines()[-100:]:
        at, blank, what = line.partition(" ")
        if blank:
            found.append({"at": printable(at, 40), "what": printable(what, 300)})  # root on the host writes here too
    return found


def stored(rules: Mapping[str, str], frames: str, left: Sequence[str], minimal: Mapping[str, str]) -> dict[str, str]:
    """The files of rules, by name, besides those that the unit makes itself.

    `rules`: by program's name ("nft" or "iptables" and "ip6tables"); `frames`: for the devices ETHERNET and BARE_DEVICES, or "";
    `left`: devices whose frames are not ours to hold back; `minimal`: the management path alone, for all three programs.
    """
    files = {"{0}.rules".format(name): text for name, text in rules.items()}
    files.update({"{0}.minimal".format(name): text for name, text in minimal.items()})
    if frames:
        files.update({"frames.rules": frames, "frames.held": owned(frames, "netdev")})
    files["left"] = " ".join(left) + "\n"
    return files
