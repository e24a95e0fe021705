# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root file systems of the lab's hosts: made once a release by mmdebstrap, kept in a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from .machine import CACHE, LabError, alone, run

# Host -> Debian suite. Python 3.13, 3.11 and 3.9.
RELEASES = {"deb13": "trixie", "deb12": "bookworm", "deb11": "bullseye"}
PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "nftables", "iptables", "iproute2", "procps",
            "rsyslog", "cron", "sudo", "conntrack", "ipset")
# What manages firewalls on real hosts, there but not at work. Debian's ufw breaks netfilter-persistent, so that no host has both.
MANAGERS = {
    "trixie": ("firewalld", "iptables-persistent"),
    "bookworm": ("firewalld", "ufw"),
    "bullseye": ("iptables-persistent",),
}
CUSTOMISE = Path(__file__).with_name("customise.sh")


def image(suite: str) -> Path:
    """Where the image of a suite lies; its name carries the recipe, so that a changed recipe makes a new one."""
    recipe = hashlib.sha256(" ".join(PACKAGES + MANAGERS[suite]).encode() + CUSTOMISE.read_bytes()).hexdigest()[:12]
    return CACHE / f"{suite}-{recipe}"


def make(suite: str) -> Path:
    """The image of a suite, made where it is not there yet."""
    ready = image(suite)
    with alone(CACHE, suite):
        return ready if ready.exists() else _make(suite, ready)


def _in_use(path: Path) -> bool:
    """Whether a host of any lab on this machine stands on an image, or an mmdebstrap that outlived its caller writes it."""
    for where in (Path("/proc/mounts"), *Path("/proc").glob("[0-9]*/cmdline")):
        with contextlib.suppress(OSError):
            if str(path).encode() in where.read_bytes():
                return True
    return False


def _make(suite: str, ready: Path) -> Path:
    for old in CACHE.glob(f"{suite}-*"):  # other recipes, and drafts of a run that was killed
        if not _in_use(old):
            shutil.rmtree(old)
    began = time.monotonic()
    print(f"lab: making the image of {suite} (once)", file=sys.stderr, flush=True)
    draft = CACHE / f"{suite}-draft.{os.getpid()}"
    try:
        run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(PACKAGES + MANAGERS[suite]),
             f"--customize-hook={CUSTOMISE}", suite, str(draft)], timeout=900)
        draft.rename(ready)
    except LabError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    print(f"lab: {suite} ready in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return ready
