#!/bin/sh
# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A light host: an image under a layer that is gone afterwards, an sshd, sleeping processes, and no systemd.
# Runs in network, mount, PID, UTS and IPC namespaces of its own, all made by the caller.
#
# usage: light.sh NAME IMAGE STATE PROCESSES
set -eu
name=$1 image=$2 state=$3 processes=$4

hostname "$name"
mount --make-rprivate /
mount -t tmpfs -o mode=0700 layer "$state/light"
mkdir "$state/light/upper" "$state/light/work" "$state/light/root"
mount -t overlay -o "lowerdir=$image,upperdir=$state/light/upper,workdir=$state/light/work" root "$state/light/root"
cp "$state/key.pub" "$state/light/root/etc/ssh/lab_keys"
echo "127.0.1.1 $name" >>"$state/light/root/etc/hosts"
cd "$state/light/root"
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=0755 dev dev
mkdir run/sshd run/lock dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mknod -m 0666 dev/null c 1 3
mknod -m 0666 dev/zero c 1 5
mknod -m 0666 dev/full c 1 7
mknod -m 0666 dev/random c 1 8
mknod -m 0666 dev/urandom c 1 9
mknod -m 0666 dev/tty c 5 0
pivot_root . mnt
# bash takes in the orphans, as process 1 must.
# shellcheck disable=SC2016 # $1 is that shell's own
exec /bin/bash -c '
umount -l /mnt
/usr/sbin/sshd
for ((number = 0; number < $1; number++)); do sleep infinity & done
while :; do sleep infinity & wait $!; done
' init "$processes" </dev/null
