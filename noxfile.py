# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gates, each a session that runs alone too; `./dev test` runs them all."""

from __future__ import annotations

import ast
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
PYTHON = sys.executable
TREE = Path(__file__).parent
COLLECTIONS = str(TREE.parents[2])
HOST_CODE = sorted([*TREE.glob("plugins/modules/*.py"), *TREE.glob("plugins/module_utils/**/*.py")])
SHELL = ["dev", ".ci/run", "benchmarks/baseline.sh", "benchmarks/loop.sh", "tests/lab/customise.sh", "tests/lab/light.sh"]
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib"]  # files of one name in several folders


def _pythons() -> dict[int, str]:
    """The Pythons 3.8 to 3.13 of this machine, by minor version; the real ones, no shims."""
    home = os.environ.get("FIREBREAK_HOME", os.path.expanduser("~"))
    found = {}
    for minor in range(8, 14):
        for path in (f"/usr/bin/python3.{minor}", *glob.glob(f"{home}/.pyenv/versions/3.{minor}.*/bin/python3.{minor}")):
            if os.access(path, os.X_OK):
                found[minor] = path
    return found


def _environment(requirements: Path, python: str = PYTHON) -> Path:
    """A virtual environment for these pinned requirements, made once; a marker says that it is whole."""
    key = hashlib.sha256(python.encode() + requirements.read_bytes()).hexdigest()[:12]
    venv = Path(os.environ.get("FIREBREAK_CACHE", "/var/cache/firebreak")) / f"{requirements.stem}-{key}"
    if not (venv / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(venv)], check=True, timeout=120)
        subprocess.run([str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True, timeout=600)
        (venv / "complete").touch()
    return venv


def _pytest(session: nox.Session, *arguments: str, python: str = PYTHON, env: dict[str, str] | None = None) -> None:
    session.run(python, *PYTEST, *arguments, external=True, env={
        "PYTHONPATH": COLLECTIONS, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS, **(env or {})})


@nox.session
def shellcheck(session: nox.Session) -> None:
    """Shell scripts."""
    session.run("shellcheck", *SHELL, external=True)


@nox.session
def compat(session: nox.Session) -> None:
    """Code that runs on hosts is Python 3.8."""
    if not HOST_CODE:
        session.error("no host code found")
    for path in HOST_CODE:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    session.run(PYTHON, "-m", "mypy", "-p", "ansible_collections.firebreak.response.plugins.module_utils",
                "-p", "ansible_collections.firebreak.response.plugins.plugin_utils", "--config-file", str(TREE / "mypy.ini"),
                external=True, env={"MYPYPATH": COLLECTIONS})


@nox.session
def contract(session: nox.Session) -> None:
    """Rules about the code that no tool knows."""
    _pytest(session, "tests/contract")


@nox.session
def units(session: nox.Session) -> None:
    """Unit tests on the controller's Python."""
    _pytest(session, "tests/unit")


@nox.session
def oldest(session: nox.Session) -> None:
    """Unit tests of host code on the oldest and the newest Python that this machine has."""
    found = _pythons()
    for minor in sorted({min(found), max(found)}):
        venv = _environment(TREE / "requirements/units.txt", found[minor])
        session.log(f"host code on Python 3.{minor} ({found[minor]}); 3.8 to 3.13 are supported")
        _pytest(session, "tests/unit/plugins/module_utils", python=str(venv / "bin/python"))


@nox.session
def kernel(session: nox.Session) -> None:
    """Host code against the running kernel, in private namespaces."""
    _pytest(session, "tests/integration/kernel")


@nox.session
def lab(session: nox.Session) -> None:
    """The collection as its users use it, on the lab's real hosts."""
    _pytest(session, "tests/integration/lab", "--durations=15", env={"FIREBREAK_ALL": "1"} if "--all" in session.posargs else {})


@nox.session
def changelog(session: nox.Session) -> None:
    """Changelog fragments."""
    session.run("antsibull-changelog", "lint", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Documentation of modules, plugins and roles."""
    session.run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".", external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """ansible-lint, production profile."""
    session.run("ansible-lint", "--offline", external=True)


@nox.session(name="import")
def galaxy_import(session: nox.Session) -> None:
    """galaxy-importer on the built tarball, in an environment and a folder of its own."""
    binaries = _environment(TREE / "requirements/import.txt") / "bin"
    env = {"PATH": f"{binaries}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        session.run(str(binaries / "ansible-galaxy"), "collection", "build", "--output-path", folder, str(TREE), external=True, env=env)
        (tarball,) = Path(folder).glob("*.tar.gz")
        with session.chdir(folder):
            session.run(str(binaries / "python"), "-m", "galaxy_importer.main", str(tarball), external=True, env=env)


@nox.session
def sanity(session: nox.Session) -> None:
    """ansible-test sanity, without ignore entries."""
    cache = Path.home() / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in ("24_2", "25_2"):  # the names under which ansible-test keeps what it would download
        shutil.copy(TREE / "tests/tools/get_pip.py", cache / f"get_pip_{version}.py")
    folders = [os.environ["PATH"], *(os.path.dirname(path) for path in _pythons().values())]  # it compiles and imports with each
    session.run("ansible-test", "sanity", "--color", "no", external=True, env={"PATH": ":".join(folders)})
