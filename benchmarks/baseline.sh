#!/usr/bin/env bash
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a responder's own script does in the same three steps, with the tools that every host has:
# look (ss, ps, iptables-save), cut (iptables), kill (pgrep, kill). It proves nothing, keeps no record, knows no
# IPv6 and arms no way back; it is here for its time. Prints the seconds it took.
#
# usage: baseline.sh FOLDER MANAGEMENT_ADDRESS PATTERN
set -u
begin=$EPOCHREALTIME
folder=$1 management=$2 pattern=$3

mkdir -p "$folder"
ss -tanup >"$folder/ss.txt" 2>&1
ps auxww >"$folder/ps.txt" 2>&1
iptables-save >"$folder/iptables.txt" 2>&1

iptables -w -I INPUT 1 -i lo -j ACCEPT
iptables -w -I INPUT 2 -s "$management" -p tcp --dport 22 -j ACCEPT
iptables -w -I INPUT 3 -j DROP
iptables -w -I OUTPUT 1 -o lo -j ACCEPT
iptables -w -I OUTPUT 2 -d "$management" -p tcp --sport 22 -j ACCEPT
iptables -w -I OUTPUT 3 -j DROP

for pid in $(pgrep -f "$pattern"); do
    [ "$pid" != "$$" ] && kill -9 "$pid" 2>/dev/null
done

end=$EPOCHREALTIME
echo "$begin $end" | awk '{ printf "%.4f\n", $2 - $1 }'
