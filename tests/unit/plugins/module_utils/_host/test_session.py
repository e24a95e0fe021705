# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which connection carries the run."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host._session import management_session, parse_ssh_connection
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import Socket

LISTENER = Socket("tcp", 4, "0.0.0.0", 22, "0.0.0.0", 0, "LISTEN", 0, 7)
LOGIN = Socket("tcp", 4, "10.0.0.2", 22, "10.0.0.1", 40000, "ESTABLISHED", 0, 8)
OTHER = LOGIN._replace(remote_port=40001, inode=9)
FORWARDED = Socket("tcp", 4, "10.0.0.2", 51000, "10.0.0.9", 80, "ESTABLISHED", 0, 10)


def table(name: str = "sshd"):
    return {
        1: SimpleNamespace(ppid=0, name="systemd"),
        50: SimpleNamespace(ppid=1, name=name),
        60: SimpleNamespace(ppid=50, name="sudo"),
        70: SimpleNamespace(ppid=60, name="python3"),
    }


def proc(tmp_path, *inodes: int) -> str:
    folder = tmp_path / "50" / "fd"
    folder.mkdir(parents=True)
    for number, inode in enumerate(inodes):
        os.symlink("socket:[{0}]".format(inode), folder / str(number))
    return str(tmp_path)


def find(tmp_path, inodes, environ=None, name="sshd"):
    return management_session(table(name), [LISTENER, LOGIN, OTHER, FORWARDED], environ or {}, proc(tmp_path, *inodes), 70)


@pytest.mark.parametrize("name", ["sshd", "sshd-session"])
def test_socket_of_the_ancestor_sshd_is_found_without_environment(tmp_path, name):
    session = find(tmp_path, [8], name=name)
    assert session[:5] == ("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket")
    assert session.pids == [70, 60, 50, 1]


def test_forwarded_connections_are_not_taken_for_the_login(tmp_path):
    assert find(tmp_path, [8, 10]).peer_port == 40000


def test_an_environment_that_names_another_connection_is_refused(tmp_path):
    with pytest.raises(HostError):
        find(tmp_path, [8], {"SSH_CONNECTION": "203.0.113.66 4444 10.0.0.2 22"})


def test_several_candidates_are_refused_unless_the_environment_tells(tmp_path):
    with pytest.raises(HostError):
        find(tmp_path, [8, 9])
    assert find(tmp_path / "b", [8, 9], {"SSH_CONNECTION": "10.0.0.1 40001 10.0.0.2 22"}).peer_port == 40001


def test_a_stale_environment_names_no_session(tmp_path):
    assert find(tmp_path, [], {"SSH_CONNECTION": "10.0.0.1 9 10.0.0.2 22"}, name="tmux").source == "none"


@pytest.mark.parametrize("text", ["", "a b", "10.0.0.1 x 10.0.0.2 22", "1 2 3 4 5", "\x00 1 \x00"])
def test_hostile_environment_is_no_connection(text):
    assert parse_ssh_connection(text) is None
