# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit that holds an isolation, and the shell text in it."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _commands, _hold, _holder, _layer2, _nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._backends import Nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._holder import Holder
from ansible_collections.firebreak.response.plugins.module_utils._isolation._layer2_backend import Layer2
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan

SESSION = Session("10.0.0.9", 50000, "10.0.0.5", 22, "sshd-socket", [])
PLAN = make_plan(SESSION, ["10.0.0.7 514/udp"], [], [], "ssh")
SAVED = """\
*filter
:INPUT ACCEPT [0:0]
-A INPUT -s 192.0.2.1/32 -j ACCEPT
-A INPUT -j FIREBREAK-INPUT
-A FIREBREAK-INPUT -j DROP
COMMIT
"""


def shell(script: str, folder, more: str = "") -> str:
    done = subprocess.run(["sh", "-c", script + more], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False,
                          env={"PATH": "{0}:/usr/bin:/bin".format(folder), "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("ascii")


def program(folder, name: str, text: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n" + text, encoding="ascii")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("by_nft", [True, False])
@pytest.mark.parametrize(("frames", "tc"), [(True, None), (False, None), (True, "/sbin/tc")])
def test_the_shell_understands_both_scripts(by_nft, frames, tc, tmp_path):
    for script in _hold.scripts("INC-42", str(tmp_path), ["/usr/sbin/iptables"], "/usr/sbin/nft", by_nft, frames, True, tc):
        assert "@" not in script.replace("@_.", "").replace('"$@"', "").replace("._@-", "")
        assert not [line for line in script.splitlines() if line.startswith(("#", ";"))], "a unit would take it for a comment"
        subprocess.run(["sh", "-n", "-c", script], check=True, timeout=20)


def test_without_watch_there_is_nothing_that_goes_on_running(tmp_path):
    loading, holding = _hold.scripts("INC-42", str(tmp_path), [], "/usr/sbin/nft", True, True, False)
    text = _hold.unit("INC-42", "/var/lib/firebreak/INC-42/hold", loading, holding, True)
    assert holding == "" and "Type=oneshot" in text and "Restart=" not in text


def test_a_unit_gives_the_shell_what_was_written():
    script = "say \"$x\" '100%'\nprint \\n\n"
    argument = _hold.quoted(script)
    # systemd.service(5) and systemd.syntax(7), backwards.
    lines = argument[1:-1].replace("\\\n", "")
    for written, plain in (("\\n", "\n"), ("%%", "%"), ("$$", "$"), ('\\"', '"'), ("\\\\", "\\")):
        lines = lines.replace(written, plain) if written != "\\n" else lines.replace("\\\\n", "\0").replace(written, plain).replace("\0", "\\\\n")
    assert lines == script.rstrip("\n")


def test_only_what_lasts_is_wanted_at_boot():
    assert "WantedBy=sysinit.target" in _hold.unit("A", "/var/lib/firebreak/A/hold", "", "x", True)
    assert "[Install]" not in _hold.unit("A", "/var/lib/firebreak/A/hold", "", "x", False)


def test_the_copy_with_an_owner_says_the_same():
    rules = _nftables.render(PLAN, "INC-42")
    copy = _hold.owned(rules, "inet")
    assert copy.startswith("add table inet firebreak_held { flags owner; }\ndelete table inet firebreak_held\n")
    assert copy.partition("\tflags owner\n")[2] == rules.partition(" {\n")[2]
    with pytest.raises(ValueError, match="no rules of ours"):
        _hold.owned("table ip x {\n}\n", "inet")


def test_a_jump_that_is_not_first_any_more_is_drift_and_is_moved(tmp_path):
    mine = program(tmp_path, "iptables", "")
    program(tmp_path, "iptables-save", "cat saved\n")
    program(tmp_path, "iptables-restore", "cat >restored\n")
    (tmp_path / "saved").write_text(SAVED, encoding="ascii")
    rules = "*filter\n:FIREBREAK-INPUT - [0:0]\n-A FIREBREAK-INPUT -j DROP\n-I INPUT 1 -j FIREBREAK-INPUT\nCOMMIT\n"
    (tmp_path / "iptables.rules").write_text(rules, encoding="ascii")
    functions = _hold.scripts("A", str(tmp_path), [mine], None, False, False, True)[0].partition("\nif full")[0]
    assert shell(functions, tmp_path, "\nlist") == "-A INPUT -s 192.0.2.1/32 -j ACCEPT\n-A FIREBREAK-INPUT -j DROP\n"
    shell(functions, tmp_path, "\nfull")
    assert (tmp_path / "restored").read_text(encoding="ascii") == rules.replace("-I INPUT", "-D INPUT -j FIREBREAK-INPUT\n-I INPUT")
    (tmp_path / "saved").write_text("", encoding="ascii")
    shell(functions, tmp_path, "\nfull")
    assert (tmp_path / "restored").read_text(encoding="ascii") == rules


def test_frames_are_for_the_devices_that_there_are(tmp_path):
    template = _layer2.render(PLAN, _layer2.Devices([_hold.ETHERNET], [_hold.BARE_DEVICES], {}))
    (tmp_path / "frames.rules").write_text(template, encoding="ascii")
    holding = _hold.scripts("A", str(tmp_path), [], "/usr/sbin/nft", True, True, True)[1]
    functions = holding.partition("\nhold()")[0]
    filled = "; if [ -z \"$b\" ]; then without='-e /chain.*_bare/,/}$/d'; fi; fill frames.rules"
    assert "if [ -z \"$b\" ]; then without='-e /chain.*_bare/,/}$/d'; fi" in functions
    assert shell(functions, tmp_path, "\ne=', \"eth0\", \"eth1\"'; b=; without=" + filled) == _layer2.render(
        PLAN, _layer2.Devices(["eth0", "eth1"], [], {}))
    assert shell(functions, tmp_path, "\ne=', \"eth0\"'; b=', \"tun0\"'; without=" + filled) == _layer2.render(
        PLAN, _layer2.Devices(["eth0"], ["tun0"], {}))


def test_what_was_put_back_is_read_with_a_limit():
    text = "".join("2026-11-24T02:14:{0:02}Z the rules had been changed\n".format(second % 60) for second in range(150)) + "cut"
    found = _hold.drift(text)
    assert len(found) == 99 and found[0] == {"at": "2026-11-24T02:14:51Z", "what": "the rules had been changed"}


def holder(tmp_path, monkeypatch, systemd: bool = True):
    for folder in ("var/lib/firebreak", "etc/systemd/system", "usr/bin", *(["run/systemd/system"] if systemd else [])):
        (tmp_path / folder).mkdir(parents=True)
    program(tmp_path / "usr/bin", "systemctl", """cd '{0}'; echo "$@" >>calls
case $1 in start) touch active;; stop) [ -e stubborn ] || [ -e refusing ] || rm -f active;; daemon-reload) rm -f refusing;;
kill) [ -e immortal ] || rm -f active stubborn;; is-active) test -e active;; esac
""".format(tmp_path))
    monkeypatch.setattr(_holder, "table_exists", lambda family, name: False)
    monkeypatch.setattr(_holder, "_PATIENCE", 0.01)
    work = Workdir("INC-42", str(tmp_path / "var/lib/firebreak"))
    work.make()
    engine = Nftables("/usr/sbin/nft", Layer2(None))
    return work, engine, lambda: Holder(work, str(tmp_path))


def calls(tmp_path) -> list[str]:
    path = tmp_path / "calls"
    found = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    path.write_text("", encoding="ascii")
    return found


def test_a_unit_comes_once_and_goes_without_a_trace(tmp_path, monkeypatch):
    work, engine, make = holder(tmp_path, monkeypatch)
    assert make().put(engine, PLAN, True, True) is True
    unit = _commands.unit_name("INC-42")
    assert calls(tmp_path) == ["start " + unit, "is-active " + unit]
    assert os.readlink(str(tmp_path / "etc/systemd/system/sysinit.target.wants" / unit)) == "../" + unit
    assert _commands.held_for(str(tmp_path)) == ["INC-42"]
    assert make().report(False) == {"unit": unit, "persist": True, "watch": True, "owner": False, "why": ""}
    calls(tmp_path)
    assert make().put(engine, PLAN, True, True) is False
    assert calls(tmp_path) == ["is-active " + unit]
    assert make().put(engine, PLAN, False, True) is True, "not over a reboot any more"
    assert calls(tmp_path) == ["stop " + unit, "is-active " + unit, "daemon-reload", "start " + unit, "is-active " + unit]
    assert not (tmp_path / "etc/systemd/system" / unit).exists() and (tmp_path / "run/systemd/system" / unit).exists()
    assert make().remove() is True
    assert [call for call in calls(tmp_path) if not call.startswith("is-active")] == ["stop " + unit, "daemon-reload"]
    assert os.listdir(str(tmp_path / "run/systemd/system")) == os.listdir(work.path) == []


def test_a_unit_that_somebody_keeps_from_running_is_no_hold(tmp_path, monkeypatch):
    dummy, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    (tmp_path / "active").unlink()
    found = make().report(False)
    assert (found["persist"], found["watch"], found["why"]) == (False, False, _commands.unit_name("INC-42") + " does not run")


def test_a_unit_is_removed_whatever_was_made_of_it(tmp_path, monkeypatch):
    work, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    unit = _commands.unit_name("INC-42")
    (tmp_path / "stubborn").touch()  # RefuseManualStop= by a drop-in
    (tmp_path / "etc/systemd/system" / (unit + ".d")).mkdir()
    (tmp_path / "etc/systemd/system" / unit).unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / "var/lib/firebreak/INC-42/hold/sub/deeper").mkdir(parents=True)
    os.symlink(str(elsewhere), str(tmp_path / "var/lib/firebreak/INC-42/hold/link"))
    assert make().remove() is True
    assert os.listdir(work.path) == [] and (elsewhere / "kept").exists() and not (tmp_path / "active").exists()
    assert not (tmp_path / "etc/systemd/system" / (unit + ".d")).exists()


def test_a_folder_in_the_place_of_the_unit_keeps_nothing_isolated(tmp_path, monkeypatch):
    _work, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    path = tmp_path / "etc/systemd/system" / _commands.unit_name("INC-42")
    path.unlink()
    (path / "in").mkdir(parents=True)
    found = make()
    assert found.remove() is True and found.why == "" and not path.exists() and not (tmp_path / "active").exists()


def test_a_unit_whose_file_is_gone_is_stopped_before_other_rules_come(tmp_path, monkeypatch):
    _work, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    (tmp_path / "etc/systemd/system" / _commands.unit_name("INC-42")).unlink()
    make().stop(unseen=True)
    assert not (tmp_path / "active").exists() and calls(tmp_path)[-1] == "daemon-reload"


def test_a_unit_that_is_made_to_refuse_does_not_go_on_with_the_rules_of_before(tmp_path, monkeypatch):
    dummy, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    drop_in = tmp_path / "run/systemd/system" / (_commands.unit_name("INC-42") + ".d")
    drop_in.mkdir()
    (tmp_path / "refusing").touch()  # until the service manager reads its files again
    make().stop()
    assert not drop_in.exists() and not (tmp_path / "active").exists()
    make().put(engine, PLAN, True, True)
    (tmp_path / "stubborn").touch()
    with pytest.raises(HostError, match="cannot be stopped"):
        make().stop()


def test_a_release_is_none_while_something_holds_the_isolation(tmp_path, monkeypatch):
    dummy, engine, make = holder(tmp_path, monkeypatch)
    make().put(engine, PLAN, True, True)
    for name in ("stubborn", "immortal"):
        (tmp_path / name).touch()
    with pytest.raises(HostError, match="still holds the isolation"):
        make().remove()


def test_a_name_that_no_case_can_have_holds_nothing(tmp_path):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/firebreak-hold-a b.service").touch()
    assert _commands.held_for(str(tmp_path)) == []


def test_a_host_without_systemd_says_so(tmp_path, monkeypatch):
    dummy, engine, make = holder(tmp_path, monkeypatch, systemd=False)
    mine = make()
    assert mine.put(engine, PLAN, True, True) is False
    assert mine.report(True) == {"unit": "", "persist": False, "watch": False, "owner": False, "why": _commands.NO_SYSTEMD}
