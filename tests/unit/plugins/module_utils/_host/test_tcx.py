# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of tcx and netkit: what is asked, and what is made of the answers."""

from __future__ import annotations

import errno

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host import _tcx

LINKS: list[dict[str, object]] = [{"index": 2, "name": "eth0"}, {"index": 7, "name": "pod0", "kind": "veth"},
                                  {"index": 9, "name": "nk0", "kind": "netkit"}]


def test_each_place_of_each_interface_is_asked_for_and_an_interface_is_named_once():
    asked = []

    def ask(interface: int, place: int) -> int:
        asked.append((interface, place))
        return int(interface == 7)

    assert _tcx.programs(LINKS, ask, "6.6.0") == [("pod0", "tcx programs")]
    assert asked == [(2, 46), (2, 47), (7, 46), (7, 47), (9, 54), (9, 55)]


@pytest.mark.parametrize(("code", "told"), [(errno.EINVAL, []), (errno.ENODEV, []), (errno.EPERM, []),
                                            (errno.ENOSYS, [("", "programs of tcx cannot be looked for: no")])])
def test_what_cannot_be_told_is_said_and_what_cannot_be_there_is_not(code, told):
    def refuse(_interface: int, _place: int) -> int:
        raise OSError(code, "no")

    assert _tcx.programs(LINKS, refuse, "6.12.1-x") == told
    assert _tcx.programs(LINKS, refuse, "5.10.0-30-amd64") == []


def test_releases_are_read_by_their_numbers():
    assert [_tcx.version(one) for one in ("6.18.44-fc", "6.6", "10.0-rc1", "5.4.0", "odd", "", "6.x")] == [
        (6, 18), (6, 6), (10, 0), (5, 4), (0, 0), (0, 0), (0, 0)]
