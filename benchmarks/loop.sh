#!/usr/bin/env bash
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Isolation as scripts do it: a loop of iptables and ip6tables calls over the allowed networks. It is the better sort of script,
# with chains of its own, so that the way back is a few calls and takes nobody else's rules away. It proves nothing, arms no way
# back and ends no connection; it is here for its time. Prints the seconds it took.
#
# usage: loop.sh apply|release MANAGEMENT_ADDRESS <NETWORKS    one network a line, each of which may be sent UDP to port 514
set -u
begin=$EPOCHREALTIME
verb=$1 management=$2

if [ "$verb" = apply ]; then
    for program in iptables ip6tables; do
        "$program" -w -N QUARANTINE-IN
        "$program" -w -N QUARANTINE-OUT
        "$program" -w -A QUARANTINE-IN -i lo -j ACCEPT
        "$program" -w -A QUARANTINE-OUT -o lo -j ACCEPT
    done
    iptables -w -A QUARANTINE-IN -s "$management" -p tcp --dport 22 -j ACCEPT
    iptables -w -A QUARANTINE-OUT -d "$management" -p tcp --sport 22 -j ACCEPT
    while read -r network; do
        program=iptables
        case $network in *:*) program=ip6tables ;; esac
        "$program" -w -A QUARANTINE-IN -s "$network" -p udp --sport 514 -j ACCEPT
        "$program" -w -A QUARANTINE-OUT -d "$network" -p udp --dport 514 -j ACCEPT
    done
    for program in iptables ip6tables; do
        "$program" -w -A QUARANTINE-IN -j DROP
        "$program" -w -A QUARANTINE-OUT -j DROP
        "$program" -w -I INPUT 1 -j QUARANTINE-IN
        "$program" -w -I OUTPUT 1 -j QUARANTINE-OUT
        "$program" -w -I FORWARD 1 -j DROP
    done
else
    for program in iptables ip6tables; do
        "$program" -w -D INPUT -j QUARANTINE-IN
        "$program" -w -D OUTPUT -j QUARANTINE-OUT
        "$program" -w -D FORWARD -j DROP
        for chain in QUARANTINE-IN QUARANTINE-OUT; do
            "$program" -w -F "$chain"
            "$program" -w -X "$chain"
        done
    done
fi

end=$EPOCHREALTIME
echo "$begin $end" | awk '{ printf "%.4f\n", $2 - $1 }'
