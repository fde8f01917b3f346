"""The Dockerfile, what it copies, and the commands and the job that name its image."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import pairwise

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGE = (ROOT / "docs" / "scaling.md").read_text().replace("\\\n", " ")


def instructions():
    text = "\n".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"
    )
    for line in text.replace("\\\n", "").splitlines():
        if line:
            yield line.split(maxsplit=1)


INSTRUCTIONS = list(instructions())


def last(kind):
    return [argument for name, argument in INSTRUCTIONS if name == kind][-1]


def tracked():
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def sent():
    """The tracked files that .dockerignore sends to the builder."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"  # nothing but what is named
    named = [line[1:] for line in lines if line.startswith("!")]
    return {name for name in tracked() if any(f"{name}/".startswith(f"{n}/") for n in named)}


def test_the_image_has_every_package_script_and_config():
    room = {name.partition("/")[0] for name in sent()}
    assert room >= set(PROJECT["tool"]["setuptools"]["packages"])
    scripts = {name for name in tracked() if "/" not in name and name.endswith(".py")}
    assert room >= scripts - {"tasks.py"} | {"configs"}
    assert not room & {"tests", "results", ".git", ".venv"}


def test_each_name_in_the_lists_exists():
    names = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for copied in (argument.split()[:-1] for name, argument in INSTRUCTIONS if name == "COPY"):
        names += [name for name in copied if name != "."]
    for name in names:
        assert any(f"{path}/".startswith(f"{name}/") for path in tracked()), name


def test_its_python_is_one_that_the_project_supports():
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", last("FROM"))[1]
    assert version in SpecifierSet(PROJECT["project"]["requires-python"])


def test_a_change_of_the_code_does_not_install_again():
    order = [argument for name, argument in INSTRUCTIONS if name in ("COPY", "RUN")]
    installs = next(i for i, argument in enumerate(order) if "pip install" in argument)
    before = [argument for argument in order[:installs] if not argument.startswith("apt-get")]
    assert before == ["pyproject.toml constraints.txt ./"]


@pytest.mark.skipif(os.name == "nt", reason="needs a shell as the image has")
def test_it_installs_what_the_project_names(tmp_path):
    """The commands before pip are run, with a pip that tells its arguments."""
    command = next(text for name, text in INSTRUCTIONS if name == "RUN" and "pip install" in text)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pip").write_text('#!/bin/sh\necho "$@" > ../asked\ncp ../*.txt .\n')
    (folder / "pip").chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / "app" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "app" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        ["sh", "-c", command.replace("/tmp/", "../")],
        cwd=tmp_path / "app",
        env={"PATH": f"{folder}:/usr/bin:/bin", "PIP_OPTIONS": "--extra-index-url ADDRESS"},
        check=True,
    )
    assert (tmp_path / "asked").read_text().endswith(" --extra-index-url ADDRESS\n")
    listed = (tmp_path / "app" / "requirements.txt").read_text().splitlines()
    extras = PROJECT["project"]["optional-dependencies"]
    expected = [*PROJECT["project"]["dependencies"]]
    expected += [package for name in extras if name != "dev" for package in extras[name]]
    assert {str(Requirement(line)) for line in listed} == {str(Requirement(p)) for p in expected}
    pinned = (tmp_path / "app" / "constraints.txt").read_text().splitlines()
    left_out = set((ROOT / "constraints.txt").read_text().splitlines()) - set(pinned)
    assert any(line.startswith("torch==") for line in pinned)
    assert all(fnmatch(line, "nvidia-*") or fnmatch(line, "cuda-*") for line in left_out)


def test_what_it_starts_exists_and_is_not_of_root():
    user, group = last("USER").split(":")
    assert int(user) > 0  # Kubernetes cannot tell whether a name is root
    assert group == "0"  # as any user of OpenShift
    kinds = [name for name, _ in INSTRUCTIONS]
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind == "RUN")
    assert yaml.safe_load(last("ENTRYPOINT")) == ["tini", "--"]
    installed = next(text for name, text in INSTRUCTIONS if name == "RUN" and "apt-get" in text)
    assert " tini " in installed
    python, *named = yaml.safe_load(last("CMD"))
    assert python == "python"
    assert {word for word in named if not word.startswith("-")} <= sent()


RUNS = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("docker run")]
BUILDS = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("docker build")]
TAG = "classic-cnns"


def test_the_page_has_commands():
    assert len(BUILDS) == len(RUNS) == 2


@pytest.mark.parametrize("command", BUILDS)
def test_the_commands_that_build_it(command):
    arguments = {text.split()[0].partition("=")[0] for name, text in INSTRUCTIONS if name == "ARG"}
    assert command[command.index("--tag") + 1] == TAG
    for option, value in pairwise(command):
        if option == "--build-arg":
            assert value.partition("=")[0] in arguments
    assert set(re.findall(r"--build-arg (\w+)", PAGE)) == arguments


@pytest.mark.parametrize("command", RUNS)
def test_the_commands_that_run_it(command):
    mounted = [value for option, value in pairwise(command) if option == "--volume"]
    assert mounted == [f"$PWD/{name}:{last('WORKDIR')}/{name}" for name in ("data", "runs")]
    assert "--read-only" in command
    _, script, *args = command[command.index(TAG) + 1 :]
    assert script in sent()
    assert not any(word.startswith("configs/") and word not in sent() for word in args)
    assert all(
        args[args.index(o) + 1].startswith("runs/") for o in ("--out", "--run_dir") if o in args
    )


def test_the_job_mounts_what_a_read_only_file_system_needs():
    job = yaml.safe_load((ROOT / "docs" / "pytorchjob.yaml").read_text())
    pod = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == TAG
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert paths == [f"{last('WORKDIR')}/{name}" for name in ("data", "runs")] + [
        "/tmp",
        "/dev/shm",
    ]
    names = {mount["name"] for mount in container["volumeMounts"]}
    assert names == {volume["name"] for volume in pod["volumes"]}
    assert container["args"][container["args"].index("--run_dir") + 1].startswith("runs/")
    assert {word for word in container["command"][1:] if word[0] != "-"} <= sent()


def test_downloads_go_to_the_mounted_data():
    name, value = last("ENV").split("=")
    assert (name, value.rpartition("/")[0]) == ("TORCH_HOME", f"{last('WORKDIR')}/data")
