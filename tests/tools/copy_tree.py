# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy the checkout's files (tracked, and new ones not ignored) into the tree that the gates run in.

What is gone from the checkout goes from the tree; ignored files (caches of tools) stay. Unchanged files are not touched.
The tree is a git repository of its own with everything staged, since ansible-test and the builders ask git for the files.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path


def files_of(folder: Path) -> set[str]:
    """Paths relative to the folder that git tracks or would track; only those that are there."""
    command = [
        "git", "-c", "safe.directory=*", "-C", str(folder), "ls-files", "-z",
        "--cached", "--others", "--exclude-standard", "--deduplicate",
    ]
    listed = subprocess.run(command, check=True, capture_output=True).stdout.split(b"\0")
    return {name for name in map(os.fsdecode, listed) if name and os.path.lexists(folder / name)}


def copy(checkout: Path, tree: Path) -> None:
    """Make the tree's files those of the checkout."""
    wanted = files_of(checkout)
    for name in files_of(tree) - wanted:
        (tree / name).unlink()
    for name in sorted(wanted):
        source, target = checkout / name, tree / name
        same = target.is_file() and not target.is_symlink() and filecmp.cmp(source, target, shallow=False)
        if not same or source.stat().st_mode != target.stat().st_mode:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
            os.chown(target, 0, 0, follow_symlinks=False)
    subprocess.run(["git", "-c", "safe.directory=*", "-C", str(tree), "add", "--all"], check=True)


if __name__ == "__main__":
    copy(Path(sys.argv[1]), Path(sys.argv[2]))
