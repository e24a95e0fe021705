# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may be stopped, who ended, who is spared: the rule of two families, kinship, and the lists of who must and who must not."""

from __future__ import annotations

import os

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host._processes import KERNEL_THREAD
from ansible_collections.firebreak.response.plugins.module_utils._processes import _decide as decide
from ansible_collections.firebreak.response.plugins.module_utils._processes import _facts as facts
from ansible_collections.firebreak.response.plugins.module_utils._processes import _report as report
from ansible_collections.firebreak.response.plugins.module_utils._processes._suspects import Suspects
from ansible_collections.firebreak.response.tests.unit.plugins.module_utils._processes.made_up import OWNER, RESPONDER, Host


def sign(grade, family):
    return {"grade": grade, "family": family}


@pytest.mark.parametrize(
    ("signs", "level"),
    [
        ([], "report"), ([("medium", "origin"), ("medium", "network")], "report"), ([("weak", "origin")], "report"),
        ([("strong", "hiding")], "freeze"), ([("strong", "hiding"), ("medium", "hiding")], "freeze"),
        ([("strong", "hiding"), ("strong", "hiding")], "freeze"), ([("strong", "hiding"), ("weak", "origin")], "freeze"),
        ([("strong", "hiding"), ("medium", "origin")], "terminate"), ([("strong", "hiding"), ("strong", "identity")], "terminate"),
    ],
)
def test_what_signs_allow(signs, level):
    assert decide.level_of([sign(*one) for one in signs]) == level


@pytest.mark.parametrize(
    ("level", "autonomy", "action"),
    [("terminate", "report", "report"), ("terminate", "freeze", "freeze"), ("terminate", "terminate", "terminate"), ("freeze", "terminate", "freeze")],
)
def test_the_autonomy_bounds_what_is_done(level, autonomy, action):
    assert decide.bounded(level, autonomy) == action


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [("/tmp/x", "/tmp/x", True), ("a /tmp/x b", "/tmp/x", True), ("'/tmp/x';", "/tmp/x", True), ("/tmp/xy", "/tmp/x", False),
     ("/a/tmp/x", "/tmp/x", False), ("/tmp/x/y", "/tmp/x", False), ("A=/tmp/x", "/tmp/x", True), ("", "/tmp/x", False)],
)
def test_a_path_is_named_as_a_whole_word_only(text, path, found):
    assert decide.mentions(text, path) is found


def test_intruders_end(host):
    udp, udp6 = host.socket(protocol="udp"), host.socket("2001:db8::5", "udp", 6)
    free = host.socket("0.0.0.0", "udp", state="CLOSE")
    bad = {
        "shell": host.shell(),
        "udp": host.add("/dev/shm/.c/dbus (deleted)", ["dbus"], fds=[udp]),
        "udp6": host.add("/dev/shm/.d/gvfsd (deleted)", ["gvfsd"], fds=[udp6]),
        "unconnected": host.add("/dev/shm/.e/x (deleted)", ["x"], fds=[free]),
        "miner": host.add("/tmp/.m/xmrig (deleted)", ["xmrig", "-o", "stratum+tcp://pool:3333"]),
        "guarded": host.add("/var/tmp/.x/watch", ["/var/tmp/.x/watch", "/var/tmp/.x/m.py", "stratum+tcp://p:1"]),
        "a": host.add("/var/tmp/.x/watch", ["/var/tmp/.x/watch", "/var/tmp/.x/w.py", "a", "b"]),
        "b": host.add("/var/tmp/.x/watch", ["/var/tmp/.x/watch", "/var/tmp/.x/w.py", "b", "a"]),
        "kworker": host.add("/tmp/.k", ["[kworker/0:1]", "3600"]),
        "memory": host.add("/memfd:x (deleted)", ["x"], fds=[host.socket()]),
        "webshell": host.shell(ppid=host.add("/usr/sbin/nginx", ["nginx: worker"])),
    }
    found = host.suspects()
    assert {name: found[pid].action for name, pid in bad.items()} == dict.fromkeys(bad, "terminate")
    assert {pid for pid, one in found.items() if one.action != "report"} == set(bad.values())


def test_nobody_else_is_touched(host):
    out = host.socket()
    host.add("/usr/sbin/cron", ["/usr/sbin/cron", "-f"])
    host.add("/usr/bin/dbus-daemon", ["dbus-daemon"])
    host.add("/usr/sbin/rsyslogd (deleted)", ["rsyslogd"], fds=[out])
    host.add("/usr/bin/vim.basic", ["vim", "/tmp/notes"], tty=34816)
    host.add("/usr/bin/grep", ["grep", "-r", "stratum+tcp://", "/etc"])
    host.add("/usr/bin/bash", ["bash", "-c", "grep stratum+tcp:// /var/log/x"], tty=34816)
    host.add("/usr/bin/python3.11 (deleted)", ["python3", "/usr/bin/fail2ban-server"], fds=[out], name="fail2ban-server")
    host.add("/tmp/.mount_app/usr/bin/app", ["app"], fds=[out])
    host.add("/usr/lib/postgresql/15/bin/postgres", ["postgres: writer"])
    host.add("/usr/bin/bash", ["-bash"], tty=34816, stdio=("/dev/pts/0",) * 3)
    host.add("/usr/bin/dash", ["/bin/sh", "-c", "/tmp/install.sh"])
    host.add("/usr/bin/rsync", ["rsync", "--server", "-nc"])
    host.add("/usr/bin/python3.11", ["[celeryd: main:Worker]"])
    host.add("/memfd:runc_cloned:/proc/self/exe (deleted)", ["runc", "init"], ppid=host.add("/usr/bin/conmon", ["conmon"]))
    host.add(None, ["kworker/0:1"], flags=KERNEL_THREAD, name="kworker/0:1")
    host.add(None, [], state="Z", name="kworker/9:9")
    found = host.suspects(deep=True)
    assert {pid: one.action for pid, one in found.items() if one.action != "report"} == {}


def test_autonomy_freeze_stops_what_terminate_would_end(host):
    pid = host.shell()
    assert host.suspects("freeze")[pid].action == "freeze" and host.suspects("report")[pid].action == "report"


def test_kin_need_a_sign_of_their_own(host):
    shell = host.shell()
    dropped = host.add("/tmp/a", ["/tmp/a"], ppid=shell)
    tool = host.add("/usr/bin/sleep", ["sleep", "9"], ppid=shell)
    stranger = host.add("/tmp/b", ["/tmp/b"])
    found = host.suspects()
    assert (found[dropped].action, found[dropped].kin_of, found[dropped].kinship) == ("terminate", shell, "its child")
    assert (found[tool].action, found[tool].kin_of, found[tool].rules) == ("report", shell, [])
    assert found[stranger].action == "report" and found[stranger].kin_of is None


def test_two_shells_are_no_kin_because_they_are_the_same_program(host):
    host.shell()
    script = host.add("/usr/bin/bash", ["bash", "/tmp/install.sh"], tty=34816)
    assert host.suspects()[script].action == "report"


def test_what_names_a_program_that_ends_is_its_kin_and_what_names_a_longer_one_is_not(host):
    host.add("/tmp/.k", ["[kworker/0:1]"])
    guard = host.add("/dev/shm/g", ["/dev/shm/g", "--run", "/tmp/.k"])
    other = host.add("/dev/shm/h", ["/dev/shm/h", "--run", "/tmp/.kk"])
    found = host.suspects()
    assert found[guard].kinship == "starts it" and found[other].action == "report"


def test_our_own_session_is_spared_and_said(host):
    end = "socket:[{0}]".format(host.socket())
    ours = host.processes[RESPONDER]
    ours.stdio, ours.argv = (end, end, end), ["[kworker/0:1]"]
    child = host.add("/tmp/.k", ["[kworker/0:1]"], ppid=RESPONDER)
    found = host.suspects(pids=[800, 1])
    assert {pid: one.spared for pid, one in found.items()} == {
        RESPONDER: "our own session", child: "started by this run", 800: "our own session", 1: "process 1"}
    assert all(one.action == "report" for one in found.values())


def test_critical_services_and_the_ssh_server_are_spared_even_by_name(host):
    pid = host.shell(cgroup=b"0::/system.slice/nginx.service\n")
    listener = host.add("/usr/sbin/sshd", ["sshd"], ppid=1)
    other = host.shell(cgroup=b"0::/system.slice/xnginx.service\n")
    found = host.suspects(critical=["nginx"], pids=[pid, listener])
    assert (found[pid].spared, found[listener].spared, found[other].spared) == ("critical service", "the SSH server", None)


def test_the_operator_may_name_a_session_of_sshd_and_a_program_on_the_list(host):
    session = host.add("/usr/sbin/sshd", ["sshd: evil"], ppid=800)
    app = host.add("/opt/app", ["app"])
    found = host.suspects(pids=[session, app], spare=["/opt/app"])
    assert found[session].action == found[app].action == "terminate"


def test_spared_programs_are_compared_by_whole_path(host):
    one, two = host.add("/tmp/.k", ["[kworker/0:1]"]), host.add("/tmp/.kk", ["[kworker/0:2]"])
    found = host.suspects(spare=["/tmp/.k"])
    assert found[one].spared == "on the list of spared programs" and found[two].action == "terminate"


def test_a_strangers_program_under_a_system_path_is_not_part_of_the_system(tmp_path):
    from ansible_collections.firebreak.response.plugins.module_utils._processes import _never

    host = Host(tmp_path)
    pid = host.add("/usr/sbin/sshd", ["sshd"])
    (tmp_path / str(pid) / "exe").write_bytes(b"x")
    assert not _never.genuine(host.processes[pid])
    host.processes[pid].exe = "/usr/sbin/sshd (deleted)"
    assert _never.genuine(host.processes[pid])
    os.unlink(str(tmp_path / str(pid) / "ns" / "mnt"))
    os.symlink("mnt:[2]", str(tmp_path / str(pid) / "ns" / "mnt"))
    assert not _never.genuine(host.processes[pid])


def test_preload_is_seen_in_deep_looks_and_on_suspects(host):
    calm = host.add("/usr/sbin/nginx", ["nginx"], environ=b"LD_PRELOAD=/lib/x.so\0")
    pid = host.add("/tmp/.k", ["[kworker/0:1]"], environ=b"LD_PRELOAD=/lib/x.so\0")
    found = host.suspects()
    assert calm not in found and "preload" in [rule["id"] for rule in found[pid].rules]
    assert "preload" in [rule["id"] for rule in host.suspects(deep=True)[calm].rules]


@pytest.mark.parametrize(
    ("address", "is_outside"),
    [("203.0.113.5", True), ("8.8.8.8", True), ("2001:db8::1", True), ("10.1.2.3", False), ("192.168.0.1", False), ("172.16.0.1", False),
     ("172.32.0.1", True), ("100.64.0.1", False), ("127.0.0.1", False), ("169.254.1.1", False), ("::1", False), ("::", False),
     ("fe80::1", False), ("fd00::1", False), ("ff02::1", False), ("0.0.0.0", False), ("224.0.0.1", False)],
)
def test_what_is_outside(address, is_outside):
    assert facts.outside(address) is is_outside


@pytest.mark.parametrize(
    ("exe", "argv", "script"),
    [
        ("/usr/bin/python3.11", ["python3", "-u", "/tmp/a.py", "-c"], "/tmp/a.py"), ("/usr/bin/python3.11", ["python3", "-c", "x"], ""),
        ("/usr/bin/python3.11", ["python3", "-W", "error", "a.py"], "/a.py"), ("/usr/bin/python3.11", ["python3", "-O", "/tmp/a"], "/tmp/a"),
        ("/usr/bin/python3.11", ["python3", "-Icpass", "/tmp/a"], ""), ("/usr/bin/perl", ["perl", "-lane", "print", "/tmp/a"], ""),
        ("/usr/bin/bash", ["bash", "-euo", "pipefail", "/tmp/a"], "/tmp/a"), ("/usr/bin/bash", ["bash", "-", "/tmp/a"], "/tmp/a"),
        ("/usr/bin/gawk", ["gawk", "-f", "/tmp/a"], "/tmp/a"), ("/usr/bin/gawk", ["gawk", "/tmp/a"], ""), ("/usr/bin/bash", ["bash", "-ec", "ls"], ""),
        ("/usr/bin/bash", ["bash", "--norc", "/tmp/../tmp/x"], "/tmp/../tmp/x"), ("/usr/bin/perl", ["perl", "-e", "1"], ""),
        ("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", ["/lib64/ld-linux-x86-64.so.2", "/tmp/x"], "/tmp/x"), ("/usr/bin/vim", ["vim", "/tmp/x"], ""),
    ],
)
def test_the_script_of_an_interpreter(host, exe, argv, script):
    assert facts.script_of(host.processes[host.add(exe, argv)]) == script


@pytest.mark.parametrize("options", [["-"], ["-u", "-"], [""], ["--", "-"]])
def test_a_path_after_the_standard_input_is_no_script(host, options):
    assert facts.script_of(host.processes[host.add("/usr/bin/python3.11", ["python3", *options, "/usr/local/bin/backup.sh"])]) == ""


@pytest.mark.parametrize(("exe", "argv"), [("/usr/bin/bash", ["bash", "-s", "/opt/x"]), ("/usr/bin/php8.2", ["php", "--", "/opt/x"])])
def test_a_path_after_the_option_for_the_standard_input_is_no_script(host, exe, argv):
    assert facts.script_of(host.processes[host.add(exe, argv)]) == ""


def test_arguments_make_no_kin_of_another_users_process(host):
    host.add("/tmp/.k", ["[kworker/0:1]", "/opt/db/bin/db", "/opt/db/bin/own"], uid=OWNER)
    base = host.add("/opt/db/bin/db", ["db"], environ=b"LD_PRELOAD=/lib/jemalloc.so\0")
    own = host.add("/opt/db/bin/own", ["own"], environ=b"LD_PRELOAD=/lib/x.so\0", uid=OWNER)
    found = host.suspects(deep=True)
    assert found[base].action == "report" and found[own].kinship == "started by it"


def test_a_path_longer_than_path_max_or_with_a_zero_is_no_path(host):
    for name in ("a" * 4096, "\udcff" * 4096, "a\0b"):
        pid = host.add("/usr/bin/python3.11", ["[kworker/0:1]", "/tmp/" + name])
        assert host.suspects()[pid].paths == []


def test_a_program_is_hashed_once_and_only_so_many_bytes_in_all(tmp_path):
    for name, size in (("a", 100), ("b", 100), ("c", 100)):
        with open(str(tmp_path / name), "wb") as file:
            file.truncate(size)
    contents = decide.Contents(250)
    first = contents.digest(str(tmp_path / "a"))
    assert first is not None and first == contents.digest(str(tmp_path / "a")) == contents.digest(str(tmp_path / "b")) and contents.left == 50
    assert contents.digest(str(tmp_path / "c")) is None and contents.digest(str(tmp_path / "a")) == first
    assert decide.Contents(10**12).digest("/dev/null") is not None and decide.Contents().digest(str(tmp_path)) is None


def test_beyond_what_may_be_hashed_there_is_no_kinship_by_content(host, tmp_path, monkeypatch):
    host.add("/opt/a", ["[kworker/0:1]"])
    one, two = host.add("/tmp/fb-a", ["[kworker/0:1]"]), host.add("/var/tmp/fb-b", ["b"])
    for pid in (one, two):
        (tmp_path / str(pid) / "exe").write_bytes(b"the same, and in no package")
    monkeypatch.setattr(decide, "CONTENTS", decide.Contents(10))
    assert host.suspects()[two].action == "report"
    monkeypatch.setattr(decide, "CONTENTS", decide.Contents())
    assert host.suspects()[two].kinship == "same content"


@pytest.mark.parametrize(
    ("cgroup", "critical"),
    [
        ("/system.slice/postgresql.service", True), ("/system.slice/system-postgresql.slice/postgresql.service", True),
        ("/system.slice/postgresql.service/worker", True), ("/db.slice/postgresql.service", True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/postgresql.service", False), ("/user.slice/postgresql.service", False),
        ("/system.slice/docker-1.scope/system.slice/postgresql.service", False), ("/postgresql.service", False), ("/", False),
        ("/x/system.slice/postgresql.service", False), ("/system.slice/x/postgresql.service", False),
    ],
)
def test_a_critical_service_is_one_of_the_systems_manager(host, cgroup, critical):
    pid = host.shell(cgroup="0::{0}\n".format(cgroup).encode("ascii"))
    found = host.suspects(critical=["postgresql"])[pid]
    assert found.spared == ("critical service" if critical else None)


@pytest.mark.parametrize(
    ("exe", "uid", "spared"),
    [
        ("/usr/sbin/sshd", 0, "the SSH server"), ("/usr/sbin/sshd", 1000, None), ("/usr/sbin/sshd", 33, None), ("/usr/bin/sudo", 0, "part of the system"),
        ("/usr/bin/sudo", 33, None), ("/usr/bin/dbus-daemon", 101, "part of the system"), ("/usr/bin/dbus-daemon", 1000, None),
        ("/usr/lib/systemd/systemd-resolved", 102, "part of the system"), ("/usr/lib/systemd/systemd", 1000, None),
    ],
)
def test_a_system_program_that_an_ordinary_user_starts_is_not_spared(host, exe, uid, spared):
    pid = host.add(exe, ["[kworker/0:1]"], uid=uid, environ=b"LD_PRELOAD=/tmp/x.so\0")
    found = host.suspects()[pid]
    assert found.spared == spared and (found.action == "report") is (spared is not None)


def test_a_result_is_escaped_and_says_it_in_a_sentence(host):
    host.add("/tmp/\x1b[2J\n(deleted)", ["[kworker/0:1]", "\u202e\udcff", "a" * 5000], name="x\ny")
    found = Suspects(host.processes, host.sockets, root=str(host.root), own_pid=RESPONDER)
    found.find()
    found.decide("terminate")
    result = report.result(found)
    one = result["findings"][0]
    assert one["name"] == "x\\x0ay" and one["exe"] == "/tmp/\\x1b[2J\\x0a(deleted)" and len(one["command_line"]) < 600
    assert "calls itself like a kernel thread" in one["why"] and "started by systemd (1)" in one["why"]
    assert not any(character in str(result) for character in "\x1b\u202e\udcff")
