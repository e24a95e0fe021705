#!/bin/sh
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# mmdebstrap's customize hook: what makes a Debian root file system ($1) a host of the lab.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash responder
echo 'responder ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/responder"
chmod 0440 "$root/etc/sudoers.d/responder"

cat >"$root/etc/ssh/sshd_config" <<CONF
AuthorizedKeysFile /etc/ssh/lab_keys
PermitRootLogin prohibit-password
PasswordAuthentication yes
UsePAM yes
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
CONF

# Every host is watched: it sends its log to the monitoring system, and is asked for its figures by it.
printf '*.* @@10.66.0.20:6514\n' >"$root/etc/rsyslog.d/monitoring.conf"
cat >"$root/etc/systemd/system/exporter.service" <<CONF
[Unit]
Description=Figures for the monitoring system
[Service]
ExecStart=/usr/bin/python3 -m http.server --directory /usr/share/doc 9100
User=nobody
[Install]
WantedBy=multi-user.target
CONF
chroot "$root" systemctl enable --quiet exporter.service
# The lab's wire is configured from outside; nothing of the host shall wait for it.
chroot "$root" systemctl mask --quiet systemd-networkd.service systemd-networkd-wait-online.service systemd-resolved.service \
    apt-daily.timer apt-daily-upgrade.timer getty.target console-getty.service
# Firewall managers are there, as on real hosts, and at rest: a test that wants one starts it. What a package saved as
# "the rules of this host" is what the machine that made the image had.
for unit in nftables firewalld ufw netfilter-persistent ipset; do
    if [ -e "$root/lib/systemd/system/$unit.service" ]; then
        chroot "$root" systemctl disable --quiet "$unit.service"
    fi
done
rm -f "$root"/etc/iptables/rules.v?
# No name server: what is not here is not found, at once.
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 deb13 deb12 deb11\n' >"$root/etc/hosts"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
