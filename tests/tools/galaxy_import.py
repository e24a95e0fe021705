# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the collection from a clean clone and hand it to galaxy-importer. usage: python -m tests.tools.galaxy_import CACHE

The importer has an environment of its own (requirements/import.txt), made once and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = Path("requirements/import.txt")


def environment(cache: Path) -> Path:
    """The folder of the importer's environment; its marker is written last."""
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"import-{key}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        (folder / "complete").touch()
    return folder


def main(cache: Path) -> int:
    """Exit code of the importer."""
    tools = environment(cache)
    with tempfile.TemporaryDirectory() as work:
        # Only what git knows, as in a clone.
        clone = Path(work) / "ansible_collections/firebreak/response"
        clone.mkdir(parents=True)
        subprocess.run(["git", "checkout-index", "--all", f"--prefix={clone}/"], check=True)
        environ = dict(os.environ, PATH=f"{tools}/bin:{os.environ['PATH']}", ANSIBLE_COLLECTIONS_PATH=work)
        build = [str(tools / "bin/ansible-galaxy"), "collection", "build", "--output-path", work, str(clone)]
        subprocess.run(build, check=True, env=environ)
        tarballs = sorted(Path(work).glob("firebreak-response-*.tar.gz"))
        (Path(work) / "importer.cfg").write_text(
            "[galaxy-importer]\nRUN_ANSIBLE_DOC=True\nRUN_ANSIBLE_LINT=True\nCHECK_REQUIRED_TAGS=True\nREQUIRE_V1_OR_GREATER=True\n",
            encoding="utf-8",
        )
        environ["GALAXY_IMPORTER_CONFIG"] = str(Path(work) / "importer.cfg")
        command = [str(tools / "bin/python"), "-m", "galaxy_importer.main", str(tarballs[0])]
        run = subprocess.run(command, env=environ, cwd=work, check=False, capture_output=True, text=True)
    report = run.stdout + run.stderr
    sys.stdout.write(report)
    return 1 if run.returncode or "ERROR" in report else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
