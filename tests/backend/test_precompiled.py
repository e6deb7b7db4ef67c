# SPDX-License-Identifier: Apache-2.0
"""Headers that g++ has read before: the same objects, sooner, and never a reason to fail."""

import os
import shutil
import subprocess
import time

import pytest

from flow.backend import precompiled as module
from flow.backend import tools
from flow.backend.precompiled import cache_folder, precompiled

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
CODE = '#include <ap_int.h>\nextern "C" int widened(int x) { return (int)(ap_int<7>(x) * ap_int<5>(3)); }\n'


@pytest.fixture
def unit(tmp_path, monkeypatch):
    """A folder with headers and a unit; how it is compiled, with more arguments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "build"
    shutil.copytree(tools.ap_types(), folder / "ap_types")
    (folder / "unit.cpp").write_text(CODE)
    common = [str(tools.require(tools.GXX)), "-std=c++14", "-O0", "-isystem", "ap_types"]

    def compiled(more, name="unit.o"):
        arguments = [*common, *more, "-Winvalid-pch", "-Werror", "-c", "unit.cpp", "-o", name]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return (folder / name).read_bytes()

    return folder, common, compiled


def headers(folder):
    return list(folder.rglob("*.gch"))


def test_the_second_build_makes_it_and_objects_are_the_same(unit):
    folder, common, compiled = unit
    assert precompiled(common, folder, folder / "ap_types") == []
    assert headers(cache_folder()) == []
    more = precompiled(common, folder, folder / "ap_types")
    (made,) = headers(cache_folder())
    assert more == ["-include", str(made.with_suffix(""))]
    assert compiled(more) == compiled([])
    written = made.stat().st_mtime_ns
    assert precompiled(common, folder, folder / "ap_types") == more
    assert made.stat().st_mtime_ns == written
    assert sorted(p.name for p in made.parent.iterdir()) == ["ap_headers.h", "ap_headers.h.gch", "version"]
    assert headers(folder) == []


def test_other_flags_and_other_headers_have_their_own(unit):
    folder, common, _ = unit
    for flags in (common, [*common, "-O1"], [*common, "-DA=1"]):
        assert precompiled(flags, folder, folder / "ap_types") == []
    assert len(list(cache_folder().iterdir())) == 3
    with (folder / "ap_types" / "ap_int.h").open("a") as header:
        header.write("// another release\n")
    assert precompiled(common, folder, folder / "ap_types") == []
    assert len(list(cache_folder().iterdir())) == 4


def test_what_nobody_used_for_a_month_goes(unit):
    folder, common, _ = unit
    for _ in range(2):
        precompiled(common, folder, folder / "ap_types")
    (kept,) = cache_folder().iterdir()
    then = time.time() - 40 * 86400
    os.utime(kept, (then, then))
    assert precompiled(common, folder, folder / "ap_types")
    precompiled([*common, "-O1"], folder, folder / "ap_types")
    assert kept.is_dir(), "its use has renewed it"
    os.utime(kept, (then, then))
    precompiled([*common, "-O2"], folder, folder / "ap_types")
    assert not kept.exists()


def test_a_cache_that_cannot_be_had_changes_nothing(unit, tmp_path, monkeypatch):
    folder, common, _ = unit
    (tmp_path / "cache").write_text("a file")
    assert precompiled(common, folder, folder / "ap_types") == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    (folder / "ap_types" / "ap_int.h").write_text("#error broken\n")
    for _ in range(3):
        assert precompiled(common, folder, folder / "ap_types") == []
    (mine,) = cache_folder().iterdir()
    assert [p.name for p in mine.iterdir()] == ["version"]
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(module.Path, "home", no_home)
    assert precompiled(common, folder, folder / "ap_types") == []


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_clang_gets_none(unit, tmp_path):
    folder, common, _ = unit
    clang = tmp_path / "g++"
    clang.write_text("#!/bin/sh\necho Apple clang version 16.0.0\n")
    clang.chmod(0o755)
    for _ in range(3):
        assert precompiled([str(clang), *common[1:]], folder, folder / "ap_types") == []
    assert headers(cache_folder()) == []


def test_one_that_does_not_fit_is_passed_over_by_the_compiler(unit):
    folder, common, compiled = unit
    for _ in range(2):
        more = precompiled(common, folder, folder / "ap_types")
    plain = compiled([])
    headers(cache_folder())[0].write_bytes(b"broken")
    arguments = [*common, *more, "-c", "unit.cpp", "-o", "again.o"]
    assert subprocess.run(arguments, cwd=folder, capture_output=True, check=False).returncode == 0
    assert (folder / "again.o").read_bytes() == plain


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(module.Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "flow"
