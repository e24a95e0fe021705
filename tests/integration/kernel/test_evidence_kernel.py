# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volatile tier on a real kernel, as root, in namespaces of its own: what was planted is in the bundle.

The other end of the test is the file that was planted and the host's own programs, never our own readers.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap

import pytest

UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
TAKE = """
import json, os, subprocess, sys, time
from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _run
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline

tmp = sys.argv[1]
_run.Workdir = lambda case, writable: Workdir(case, tmp + "/firebreak", writable)

def take(check_mode=False, **params):
    params = dict({"case": "INC-1", "tier": "volatile", "max_bytes": 268435456, "max_seconds": 30}, **params)
    try:
        result = _run.run(params, check_mode, Timeline())
    except FirebreakError as error:
        result = {"msg": str(error)}
    print(json.dumps(result))

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


@pytest.fixture
def inside(tmp_path):
    """Run Python source in fresh network, mount and process namespaces; what `take` said."""

    def run(source):
        assert os.geteuid() == 0, "these tests need root"
        script = tmp_path / "inside.py"
        script.write_text(TAKE + textwrap.dedent(source), encoding="utf-8")
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        done = subprocess.run(
            UNSHARE + [sys.executable, str(script), str(tmp_path)],
            capture_output=True, text=True, timeout=60, env=environment, check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def members(tmp_path, result):
    with tarfile.open(tmp_path / "firebreak/INC-1" / result["bundle"]) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def lines(found, name):
    return [json.loads(line) for line in found[name].splitlines()]


def test_a_deleted_running_program_is_noted_hashed_and_copied_whole(inside, tmp_path):
    shutil.copy("/bin/sleep", tmp_path / "implant")
    sha256 = hashlib.sha256((tmp_path / "implant").read_bytes()).hexdigest()
    result = inside(
        """
        process = subprocess.Popen([tmp + "/implant", "60"])
        os.unlink(tmp + "/implant")
        take()
        process.kill()
        """
    )
    found = members(tmp_path, result)
    exe = str(tmp_path / "implant") + " (deleted)"
    (program,) = [one for one in lines(found, "live_response/process/executables.jsonl") if one["path"] == exe]
    assert (program["sha256"], program["links"]) == (sha256, 0)
    (pid,) = program["pids"]
    assert hashlib.sha256(found["[root]/proc/{0}/exe".format(pid)]).hexdigest() == sha256
    assert {"what": "runs from a deleted file", "pid": pid, "exe": exe, "name": "implant"} in result["summary"]["notable"]
    assert result["outcome"] == "complete", result["missing"]
    assert result["changed"] is False


def test_a_program_that_never_had_a_file_is_copied(inside, tmp_path):
    with open("/bin/sleep", "rb") as handle:
        sha256 = hashlib.sha256(handle.read()).hexdigest()
    result = inside(
        """
        memory = os.memfd_create("x")
        os.write(memory, open("/bin/sleep", "rb").read())
        process = subprocess.Popen(["sleep", "60"], executable="/proc/self/fd/%d" % memory, pass_fds=[memory])
        take()
        process.kill()
        """
    )
    copies = [data for name, data in members(tmp_path, result).items() if name.endswith("/exe")]
    assert sha256 in [hashlib.sha256(data).hexdigest() for data in copies]


def test_sockets_have_their_owners_also_in_another_network_namespace(inside, tmp_path):
    result = inside(
        """
        import socket
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        here = socket.create_server(("127.0.0.1", 7001))
        listener = "import socket,time,sys; s=socket.create_server(('127.0.0.1', 7002)); open(sys.argv[1],'w'); time.sleep(60)"
        other = subprocess.Popen(["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh",
                                  sys.executable, "-c", listener, tmp + "/ready"])
        wait_for(tmp + "/ready")
        take()
        other.kill()
        """
    )
    taken = members(tmp_path, result)
    sockets = {one["local_port"]: one for name in ("sockets", "namespace_sockets")
               for one in lines(taken, f"live_response/network/{name}.jsonl")}
    assert sockets[7001]["state"] == sockets[7002]["state"] == "LISTEN"
    assert sockets[7001]["namespace"] != sockets[7002]["namespace"]
    assert sockets[7001]["pids"] and sockets[7002]["pids"] and sockets[7001]["pids"] != sockets[7002]["pids"]
    assert result["summary"]["counts"]["network_namespaces"] == 2


def test_the_firewall_is_there_as_nft_says_it_and_the_program_is_on_record(inside, tmp_path):
    result = inside(
        """
        subprocess.run(["nft", "add table inet planted"], check=True)
        take()
        """
    )
    found = members(tmp_path, result)
    assert b"table inet planted" in found["live_response/network/nft.txt"]
    entries = json.loads(found["manifest.json"])["members"]
    (entry,) = [one for one in entries if one["path"] == "live_response/network/nft.txt"]
    with open(entry["command"]["path"], "rb") as handle:
        assert entry["command"]["sha256"] == hashlib.sha256(handle.read()).hexdigest()
    assert entry["method"] == "command"
    assert entry["command"]["argv"][1:] == ["list", "ruleset"]


def test_routes_of_every_table_are_taken(inside, tmp_path):
    result = inside(
        """
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "route", "add", "blackhole", "198.51.100.0/24", "table", "1234"], check=True)
        subprocess.run(["ip", "-6", "route", "add", "blackhole", "2001:db8:1::/48", "table", "1235"], check=True)
        take()
        """
    )
    routes = lines(members(tmp_path, result), "live_response/network/routes.jsonl")
    found = {(one.get("destination"), one["table"]) for one in routes}
    assert {("198.51.100.0", 1234), ("2001:db8:1::", 1235)} <= found


def test_tables_that_the_kernel_hands_out_in_pieces_are_read_to_their_end(inside):
    result = inside(
        """
        import socket
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        listeners = [socket.create_server(("127.0.0.1", 0)) for _number in range(200)]
        take()
        """
    )
    assert result["summary"]["counts"]["listening"] == 200


def test_a_mount_that_hides_a_process_is_noted(inside):
    result = inside(
        """
        process = subprocess.Popen(["sleep", "60"])
        os.mkdir(tmp + "/cover")
        subprocess.run(["mount", "--bind", tmp + "/cover", "/proc/%d" % process.pid], check=True)
        take()
        process.kill()
        """
    )
    assert "mount hides a process" in [one["what"] for one in result["summary"]["notable"]]


def test_check_mode_reads_all_and_leaves_nothing(inside, tmp_path):
    result = inside("take(check_mode=True)")
    assert result["bundle"] is None and result["evidence"]["inline"] is None
    assert result["coverage"]["processes"]["outcome"] == "complete"
    assert not (tmp_path / "firebreak").exists()


def test_a_disk_that_fills_up_is_an_error_and_an_older_bundle_stays_whole(inside, tmp_path):
    result = inside(
        """
        os.mkdir(tmp + "/firebreak", 0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,mode=0700", "none", tmp + "/firebreak"], check=True)
        take()
        older = os.listdir(tmp + "/firebreak/INC-1")
        open(tmp + "/firebreak/filler", "wb").write(bytes(60 * 1048576))
        take()
        assert os.listdir(tmp + "/firebreak/INC-1") == older
        """
    )
    assert "MiB free" in result["msg"]


def test_a_small_bundle_comes_inline_and_fits_its_hash(inside):
    import base64

    evidence = inside("take()")["evidence"]
    assert hashlib.sha256(base64.b64decode(evidence["inline"])).hexdigest() == evidence["sha256"]
    assert hashlib.sha256(base64.b64decode(evidence["manifest_inline"])).hexdigest() == evidence["manifest_sha256"]


def test_a_file_system_that_never_answers_costs_its_collector_alone(inside):
    result = inside(
        """
        import ctypes
        from ansible_collections.firebreak.response.plugins.module_utils._evidence import _collectors
        for collector in _collectors.VOLATILE:
            if collector.name == "deleted_files":
                collector.max_seconds = 0.5
        # A FUSE mount whose daemon (we) never answers; the name makes the descriptor look like a deleted file.
        folder = tmp + "/mount (deleted)"
        os.mkdir(folder)
        fuse = os.open("/dev/fuse", os.O_RDWR)
        options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mount(b"planted", folder.encode(), b"fuse", 0, options) == 0, os.strerror(ctypes.get_errno())
        held = os.open(folder, os.O_PATH)
        start = time.monotonic()
        take()
        assert time.monotonic() - start < 5
        """
    )
    assert result["outcome"] == "partial"
    assert {name for name, one in result["coverage"].items() if one["outcome"] != "complete"} == {"deleted_files"}
    assert "did not answer" in result["missing"][0]["why"]
