# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gates, one session each; `./dev test` runs them all in the copy that it has made. Tools come from requirements/dev.txt."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False

CACHE = Path(os.environ.get("FIREBREAK_CACHE", os.path.expanduser("~/.cache/firebreak")))
HOST_CODE = ("plugins/modules", "plugins/module_utils")
# A warning in a test is a mistake, ours or to come.
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-q")
# pytest-ansible links its own view of the collection, which no test here needs.
PLAIN = ("-p", "no:pytest-ansible", "-p", "no:ansible", "-p", "no:pytest_ansible")


def _folders(session: nox.Session, *paths: str) -> list[str]:
    there = [path for path in paths if os.path.exists(path)]
    if not there:
        session.error("there is none of " + ", ".join(paths))
    return there


@nox.session
def shellcheck(session: nox.Session) -> None:
    """Shell scripts."""
    session.run("shellcheck", "dev", ".ci/run", *sorted(glob.glob("benchmarks/*.sh")))


@nox.session
def compat(session: nox.Session) -> None:
    """Host code parses as Python 3.8."""
    session.run("python", "-m", "tests.tools.compat", *HOST_CODE)


@nox.session
def contract(session: nox.Session) -> None:
    """What the other tools miss."""
    session.run("python", *PYTEST, "tests/contract")


@nox.session
def types(session: nox.Session) -> None:
    """mypy strict."""
    base = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    packages = [
        option
        for name in ("module_utils", "plugin_utils")
        for option in ("-p", f"ansible_collections.firebreak.response.plugins.{name}")
    ]
    session.run("python", "-m", "mypy", "--config-file", "mypy.ini", *packages, env={"MYPYPATH": base})


def _pythons() -> list[tuple[str, str]]:
    """[(version, path)]: the oldest Python from 3.8 that is there, and 3.13 if it is."""
    home = os.environ.get("FIREBREAK_HOME", "")
    found = {}
    for minor in range(8, 14):
        candidates = glob.glob(f"{home}/.pyenv/versions/3.{minor}.*/bin/python3.{minor}")
        candidates += [path for path in (shutil.which(f"python3.{minor}"),) if path]
        if candidates:
            found[minor] = candidates[0]
    chosen = [minor for minor in sorted(found) if minor in (min(found), 13)]
    return [(f"3.{minor}", found[minor]) for minor in chosen]


def _environment(session: nox.Session, version: str, python: str) -> str:
    """A small environment with pytest and nothing else, kept between runs. Returns its python."""
    identity = subprocess.run([python, "-VV"], check=True, capture_output=True).stdout + python.encode()
    folder = CACHE / f"units-{version}-{hashlib.sha256(identity).hexdigest()[:8]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        session.run(python, "-m", "venv", str(folder))
        session.run(str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "pytest")
        (folder / "complete").touch()
    return str(folder / "bin/python")


@nox.session
def units(session: nox.Session) -> None:
    """Unit tests: all with the controller's Python; those of host code with the oldest and the newest that are there."""
    session.run("python", *PYTEST, "-n", "2", "tests/unit")
    pythons = _pythons()
    sys.stdout.write("HOST CODE IS TESTED WITH PYTHON {0}\n".format(", ".join(version for version, _path in pythons) or "(none)"))
    sys.stdout.flush()
    for version, python in pythons:
        runner = _environment(session, version, python)
        session.run(
            runner, *PYTEST, *_folders(session, "tests/unit/plugins/module_utils"),
            env={"PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        )


@nox.session
def kernel(session: nox.Session) -> None:
    """Against this machine's kernel, in namespaces of their own; needs root."""
    session.run("python", *PYTEST, "tests/integration/kernel")


@nox.session
def lab(session: nox.Session) -> None:
    """Against real hosts, every state four times, and the matrices."""
    folders = _folders(session, "tests/lab", "tests/integration")
    session.run("python", *PYTEST, *folders, "--ignore=tests/integration/kernel", "--ignore=tests/integration/targets")


@nox.session
def docs(session: nox.Session) -> None:
    """Documentation of modules, roles and plugins."""
    session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".")


@nox.session
def changelog(session: nox.Session) -> None:
    """Changelog fragments and configuration."""
    session.run("antsibull-changelog", "lint")


@nox.session
def lint(session: nox.Session) -> None:
    """ansible-lint, production profile, without the network."""
    session.run("ansible-lint", "--offline")


@nox.session
def sanity(session: nox.Session) -> None:
    """ansible-test sanity, no ignore entries, on the running Python."""
    version = "{0}.{1}".format(*sys.version_info[:2])
    # ansible-test would download get-pip.py; its cache has one that needs no download.
    cache = Path.home() / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("get_pip_24_2.py", "get_pip_25_2.py"):
        shutil.copyfile("tests/tools/get_pip.py", cache / name)
    if any(Path("tests/sanity").glob("ignore-*.txt")):
        session.error("tests/sanity has ignore entries")
    session.run("ansible-test", "sanity", "--color", "no", "--truncate", "0", "--python", version)


@nox.session(name="import")
def galaxy_import(session: nox.Session) -> None:
    """galaxy-importer on the built tarball."""
    session.run("python", "-m", "tests.tools.galaxy_import", str(CACHE))
