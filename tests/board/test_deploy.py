# SPDX-License-Identifier: Apache-2.0
"""Packages, and boards that get them: by a stand-in for ssh, and by a real sshd on loopback where there is one."""

import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from flow.api.deploy import deploy
from flow.api.package import open_package, package
from flow.backend.remote import Host
from flow.cli import main
from flow.errors import DeployError, OptionError, OutputError, PackageError

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def archive(digits, tmp_path_factory) -> Path:
    """In a folder whose name has what shells and scp take apart."""
    return package(digits.folder, tmp_path_factory.mktemp("out") / "a b'c:d" / "digits.tar.gz").archive


# -- packages ----------------------------------------------------------------------------------------------------


def test_a_package_holds_what_its_manifest_says_and_the_same_gives_the_same(digits, archive, tmp_path) -> None:
    again = package(digits.folder, tmp_path / "again.tar.gz")
    assert again.archive.read_bytes() == archive.read_bytes()
    assert open_package(archive).files == again.files
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar.getmembers()}
        manifest = json.loads(tar.extractfile("digits_mlp/manifest.json").read())
        for name, digest in manifest["files"].items():
            assert hashlib.sha256(tar.extractfile(f"digits_mlp/{name}").read()).hexdigest() == digest
    assert members.keys() == {f"digits_mlp/{name}" for name in (*manifest["files"], "manifest.json", "SHA256SUMS")}
    assert {
        "digits_mlp.bit",
        "digits_mlp.hwh",
        "io.json",
        "accelerator.py",
        "packing.py",
        "run.sh",
    } <= again.files.keys()
    assert {(m.mtime, m.uid, m.uname) for m in members.values()} == {(0, 0, "")}
    assert members["digits_mlp/run.sh"].mode == 0o755
    assert (manifest["design"], manifest["board"]) == ("digits_mlp", "pynq-z2")


def test_a_folder_without_a_finished_bitstream_is_refused(digits, tmp_path) -> None:
    with pytest.raises(PackageError, match="is not a build directory"):
        package(tmp_path)
    folder = tmp_path / "build"
    shutil.copytree(digits.folder, folder)
    (folder / "hls_work/bitstream/digits_mlp.bit").write_text("of another run")
    with pytest.raises(PackageError, match=r"digits_mlp\.bit is not what the last step of --synth bitstream left"):
        package(folder)
    (folder / "hls_work/steps/system_build.json").unlink()
    with pytest.raises(PackageError, match="holds no finished bitstream"):
        package(folder)


def test_an_archive_that_cannot_be_written(digits, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        package(digits.folder, tmp_path / "file" / "x.tar.gz")


def test_a_damaged_archive_is_refused(archive, tmp_path) -> None:
    raw = gzip.decompress(archive.read_bytes())
    assert raw.count(b"the bit of digits_mlp") == 1
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(raw.replace(b"the bit of digits_mlp", b"the bit of another___")))
    with pytest.raises(PackageError, match="is damaged"):
        open_package(tmp_path / "x.tar.gz")
    (tmp_path / "y.tar.gz").write_bytes(archive.read_bytes()[:-100])
    for name in ("y.tar.gz", "gone.tar.gz"):
        with pytest.raises(PackageError, match="is no package"):
            open_package(tmp_path / name)


# -- a stand-in for ssh --------------------------------------------------------------------------------------------


def board_environment(folder: Path, build: Path) -> dict[str, str]:
    """What a program on the board finds: Python with a stand-in for pynq, and a user who is root."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "id").write_text("#!/bin/sh\necho 0\n")
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(HERE.parent / "fake_board"),
        "FLOW_FAKE_BUILD": str(build),
    }


@pytest.fixture
def ssh(digits, tmp_path, monkeypatch) -> Path:
    """The home folder of the board; what ssh was called with lands beside it in calls.jsonl."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "FLOW_SSH": str(HERE / "ssh"),
        "FLOW_FAKE_SSH_LOG": str(tmp_path / "calls.jsonl"),
        "FLOW_FAKE_HOME": str(home),
        **board_environment(tmp_path, digits.folder),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return home


def calls(home: Path) -> list[dict]:
    return [json.loads(line) for line in (home.parent / "calls.jsonl").read_text().splitlines()]


def test_a_board_gets_the_package_and_tests_it(ssh, archive) -> None:
    told = []
    host = Host("xilinx@board", port=2222, identity=Path("my key"), accept_new=True)
    (found,) = deploy(archive, [host], progress=told.append)
    assert (found.host, found.folder, found.compared, found.power_w) == ("xilinx@board", "flow/digits_mlp", 400, {})
    assert found.frames_per_second > 0
    assert told[1:] == ["xilinx@board: self test", "xilinx@board: measure"]
    assert (ssh / "flow/digits_mlp/digits_mlp.bit").is_file()
    for call in calls(ssh):
        assert call["address"] == "xilinx@board"
        assert (call["options"]["-p"], call["options"]["-i"]) == (["2222"], ["my key"])
        assert {"BatchMode=yes", "StrictHostKeyChecking=accept-new", "ConnectTimeout=15"} <= set(call["options"]["-o"])
    logs = archive.with_name("digits.tar.gz.logs") / "xilinx@board"
    assert {path.name for path in logs.iterdir()} == {"copy.log", "self-test.log", "measure.log"}


@pytest.mark.parametrize("folder", ["-rf", """it's "$(touch pwned)"; `touch pwned`"""])
def test_a_folder_is_quoted(ssh, archive, folder: str) -> None:
    (found,) = deploy(archive, [Host("board")], folder=folder)
    assert found.compared == 400
    assert [path.name for path in ssh.iterdir()] == [folder]


@pytest.mark.parametrize("address", ["-oProxyCommand=touch pwned", "a b", "", "a;b", "@host", "user@", "u@-h", "$(x)"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(OptionError, match="is not an address"):
        Host(address)


@pytest.mark.parametrize(
    "address", ["pynq", "192.168.2.99", "xilinx@192.168.2.99", "a_b@[fe80::1%eth0]", "board-1.local"]
)
def test_addresses(address: str) -> None:
    assert Host(address).arguments("true")[-2] == address


@pytest.mark.parametrize(
    ("says", "meaning"),
    [
        ("ssh: Could not resolve hostname pynq: Name or service not known", "its name is not known"),
        ("ssh: connect to host pynq port 22: Connection timed out", "it cannot be reached"),
        ("ssh: connect to host pynq port 22: No route to host", "it cannot be reached"),
        ("ssh: connect to host pynq port 22: Connection refused", "no ssh server answers there"),
        ("xilinx@pynq: Permission denied (publickey,password).", "it does not let us in"),
        ("Host key verification failed.", "it was never seen before"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "its host key changed"),
        ("sudo: a password is required", "may not become root without a password"),
        ("tar: digits.bit: Cannot write: No space left on device", "its disk is full"),
        ("mkdir: cannot create directory: Read-only file system", "the folder cannot be written"),
        ("something new", "xilinx@pynq:\n    something new"),
    ],
)
def test_what_went_wrong_is_told_once_with_a_remedy(ssh, archive, monkeypatch, says: str, meaning: str) -> None:
    monkeypatch.setenv("FLOW_FAKE_SSH_SAYS", says)
    with pytest.raises(DeployError) as caught:
        deploy(archive, [Host("xilinx@pynq")])
    assert meaning in caught.value.message
    assert caught.value.remedy
    assert caught.value.log.read_text().strip() == says


def test_a_board_that_does_not_answer_is_given_up(ssh, archive, monkeypatch) -> None:
    monkeypatch.setenv("FLOW_FAKE_SSH_DOWN", "dead")
    start = time.monotonic()
    with pytest.raises(DeployError, match=r"dead:\n    ssh was ended after 0\.5 s"):
        deploy(archive, [Host("dead")], timeout=0.5)
    assert time.monotonic() - start < 30  # not the 60 s that it sleeps


def test_keep_going_goes_on_with_the_next_board(ssh, archive, monkeypatch) -> None:
    monkeypatch.setenv("FLOW_FAKE_SSH_DOWN", "dead")
    hosts = ["--host", "dead", "--host", "board"]
    runner = CliRunner()
    result = runner.invoke(main, ["deploy", str(archive), *hosts, "--timeout", "20", "-k"])
    assert result.exit_code == 2
    assert re.search(r"^board: 400 integers as simulated; [\d,]+ frames/s with the driver, ", result.output, re.M)
    assert "flow: dead:\n    ssh was ended after 20 s\n  log: " in result.output
    result = runner.invoke(main, ["deploy", str(archive), *hosts, "--timeout", "0.5"])
    assert (result.exit_code, "board: " in result.output) == (2, False)


def test_a_self_test_that_fails_fails_the_deployment(ssh, archive, monkeypatch) -> None:
    monkeypatch.setenv("FLOW_FAKE_FAULT", "wrong")
    with pytest.raises(DeployError, match="self test, frames all together: 1 of 200 integers differ"):
        deploy(archive, [Host("board")])


def test_the_command_line_packs_a_build_directory_on_the_way(ssh, digits) -> None:
    runner = CliRunner()
    result = runner.invoke(main, ["package", str(digits.folder), "--json"])
    assert json.loads(result.output)["archive"] == str(digits.folder / "digits_mlp.tar.gz")
    result = runner.invoke(main, ["deploy", str(digits.folder), "--host", "board", "--json"])
    assert (result.exit_code, json.loads(result.output)[0]["compared"]) == (0, 400)


# -- a real sshd -------------------------------------------------------------------------------------------------------

SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").is_file() else None)


@pytest.fixture
def sshd(digits, tmp_path, monkeypatch):
    """A server on loopback that takes one key; its port and the key."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd is not installed (package openssh-server)")
    for name in ("host", "mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    shutil.copy(tmp_path / "mine.pub", tmp_path / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = " ".join(f'"{k}={v}"' for k, v in board_environment(tmp_path, digits.folder).items())
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"SetEnv {environment}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it puts its unprivileged half
    # ssh's own files: nothing of the user's is read or written
    (tmp_path / "ssh").write_text(
        f'#!/bin/sh\nexec ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile="{tmp_path}/known" "$@"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("FLOW_SSH", str(tmp_path / "ssh"))
    log = (tmp_path / "sshd.log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "config")], stderr=log)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0 or server.poll() is not None:
                break
        time.sleep(0.05)
    if server.poll() is not None:
        pytest.skip(f"sshd does not start here: {(tmp_path / 'sshd.log').read_text()[-200:]}")
    yield port
    server.terminate()
    server.wait()
    log.close()


def test_a_real_server(sshd, archive, tmp_path) -> None:
    host = Host("127.0.0.1", port=sshd, identity=tmp_path / "mine", accept_new=True)
    folder = str(tmp_path / "on the 'board'")
    with pytest.raises(DeployError, match=r"it was never seen before:\n    (No ED25519 host key|Host key)"):
        deploy(archive, [Host("127.0.0.1", port=sshd, identity=tmp_path / "mine")], folder=folder)
    (found,) = deploy(archive, [host], folder=folder)
    assert found.compared == 400
    assert (tmp_path / "on the 'board'" / "digits_mlp" / "manifest.json").is_file()
    with pytest.raises(DeployError, match=r"it does not let us in:\n.*Permission denied"):
        deploy(archive, [Host("127.0.0.1", port=sshd, identity=tmp_path / "other")], folder=folder)
    known = (tmp_path / "known").read_text().split()
    (tmp_path / "known").write_text(f"{known[0]} {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}\n")
    with pytest.raises(DeployError, match="its host key changed"):
        deploy(archive, [host], folder=folder)
    for log in archive.with_name("digits.tar.gz.logs").rglob("*.log"):
        assert "PRIVATE KEY" not in log.read_text()
