# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy what belongs to a checkout into the place where Ansible looks for collections; what is gone there goes here.

usage: copy_tree.py CHECKOUT TREE. Files are those that git tracks or would track. Caches of tools in TREE stay.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def files(folder: Path) -> set[str]:
    """Paths of the files that belong to a git checkout, relative to it."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(folder), "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True, check=True, timeout=60).stdout.decode().split("\0")
    return {name for name in listed if name and (folder / name).is_file()}


def main(checkout: Path, tree: Path) -> None:
    """Make the tree hold the checkout's files and no other tracked ones."""
    wanted = files(checkout)
    for name in files(tree) - wanted:
        (tree / name).unlink()
    for name in wanted:
        source, target = checkout / name, tree / name
        if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns \
                and target.stat().st_size == source.stat().st_size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    subprocess.run(["git", "-c", "safe.directory=*", "-C", str(tree), "add", "-A"], check=True, timeout=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
