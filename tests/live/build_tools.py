"""The real Bazel and Gradle against two real daemons: `make buildtools`. Too long for every run of the tests.

Seen to pass with Bazel 4.2.3 and Gradle 4.4.1 of Debian 12.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.daemons import Daemon, Daemons

LIMIT_S = 300


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Daemon]]:
    with Daemons() as daemons:
        yield daemons.loopback(2)


def run(command: list[str], cwd: Path, **env: str) -> str:
    ran = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    return said


@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.skipif(shutil.which("bazel") is None, reason="bazel is not installed (Debian: bazel-bootstrap)")
def test_bazel_takes_from_one_host_what_another_has_built(pair: list[Daemon], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "WORKSPACE").write_text('workspace(name = "cached")\n')
    (work / "BUILD").write_text('genrule(name = "made", outs = ["out.txt"], cmd = "echo made > $@")\n')
    said = []
    for number, daemon in enumerate(pair):
        bazel = ["bazel", f"--output_user_root={tmp_path}/root{number}"]
        cache = f"--remote_cache=http://any:{daemon.token}@{daemon.tcp}/cache/bazel"
        try:
            said.append(run([*bazel, "build", cache, "//:made"], work))
        finally:
            run([*bazel, "shutdown"], work)
    assert "remote cache hit" not in said[0] and "1 remote cache hit" in said[1]


@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.skipif(shutil.which("gradle") is None, reason="gradle is not installed")
def test_gradle_takes_from_one_host_what_another_has_built(pair: list[Daemon], tmp_path: Path) -> None:
    source = tmp_path / "src" / "main" / "java"
    source.mkdir(parents=True)
    (source / "Hello.java").write_text("class Hello { }\n")
    (tmp_path / "build.gradle").write_text("apply plugin: 'java'\n")
    (tmp_path / "settings.gradle").write_text(
        "buildCache {\n    local { enabled = false }\n    remote(HttpBuildCache) {\n"
        "        url = System.getenv('CACHE_URL')\n        push = true\n"
        "        credentials { username = 'any'; password = System.getenv('CACHE_TOKEN') }\n    }\n}\n"
    )
    said = []
    for daemon in pair:
        for made in ("build", ".gradle"):
            shutil.rmtree(tmp_path / made, ignore_errors=True)
        env = {"CACHE_URL": f"http://{daemon.tcp}/cache/gradle/", "CACHE_TOKEN": daemon.token}
        command = ["gradle", "--no-daemon", "--build-cache", f"--gradle-user-home={tmp_path}/home", "compileJava"]
        said.append(run(command, tmp_path, **env))
    assert "FROM-CACHE" not in said[0] and ":compileJava FROM-CACHE" in said[1]
