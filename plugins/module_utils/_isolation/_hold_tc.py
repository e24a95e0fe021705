# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the unit's shell text that holds back frames by tc, on hosts whose nft cannot. Pure: runs nothing.

A file for each direction and kind of device, such as `egress-ethernet`, holds a program as tc(8) reads it. Of the filters of a device
ours must be asked first: what the listing shows up to it is compared, so that others' behind it are no concern of ours. What hangs in
another chain, or on a block that several devices share, does not stand for it.
"""

from __future__ import annotations

from ._layer2 import HANDLE, PREFERENCE

# As for `_hold`. `look` is its; what a device's qdiscs are is listed only to tell one list of filters from the next.
FRAMES = """\
each() (
  IFS='", '
  for d in $e; do if [ -n "$d" ]; then "$@" "$d" ethernet; fi; done
  for d in $b; do if [ -n "$d" ]; then "$@" "$d" bare; fi; done
)
place() { echo "qdisc add dev $1 clsact"; }
filter() {
  for way in egress ingress; do
    if [ -e "$way-$3" ]; then echo "filter $1 dev $2 $way pref @PREFERENCE@ protocol all handle @HANDLE@ bpf da bytecode-file $way-$3"; fi
  done
}
show() { for way in egress ingress; do echo "qdisc show dev $1"; echo "filter show dev $1 $way"; done; }
seen() {
  each show | @TC@ -force -batch - | awk '
    $1 == "qdisc" { mine = 0; next }
    mine || / chain [1-9]/ || $2 == "block" { next }
    { print }
    / handle @HANDLE@ / { mine = 1 }'
}
frames() {
  if ! look; then return; fi
  if [ "$e/$b" = "$devices" ] && seen | cmp -s - frames.seen; then return; fi
  (each place; each filter replace) | @TC@ -force -batch - >/dev/null
  if seen | grep '^filter.* handle ' | grep -qv ' handle @HANDLE@ '; then
    (each filter delete; each filter replace) | @TC@ -force -batch - >/dev/null
  fi
  seen >frames.seen
  if [ "$(grep -c ' handle @HANDLE@ ' frames.seen)" -ne "$(each filter replace | wc -l)" ]; then
    if [ "$devices" != failed ]; then say 'the programs for frames cannot be loaded everywhere'; fi
    devices=failed
    return
  fi
  if [ "$e/$b" = "$devices" ]; then say 'the programs for frames had been changed or removed; they are put back'
  elif [ -n "$devices" ]; then say 'the interfaces have changed, and the programs for frames with them'; fi
  devices=$e/$b
}
"""


def values(tc: str) -> dict[str, str]:
    """What the words of FRAMES stand for."""
    return {"TC": tc, "PREFERENCE": str(PREFERENCE), "HANDLE": "{0:#x}".format(HANDLE)}
