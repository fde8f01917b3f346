"""The statements of `docs/scaling.md` and `docs/reliability.md`, and the job files."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import QUICKSTART, ROOT
from tests.running import run, wait_for
from tests.training.test_survival import callbacks, die

SBATCH = ROOT / "docs" / "train.sbatch"
# What SLURM does with a job of two tasks on one node.
SRUN = """#!/usr/bin/env bash
[ "$1" = --kill-on-bad-exit=1 ] && shift
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
status=$?
kill -9 $! 2>/dev/null
exit $status
"""
JOB = {
    **{"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1"},
    **{"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"},
    **{"SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "PYTHON": sys.executable},
}


@pytest.fixture
def slurm(tmp_path):
    """The environment of a job, with SLURM commands that record their arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    requeue = f'#!/bin/sh\necho "$@" > {tmp_path}/scontrol\n'
    for name, text in (("srun", SRUN), ("scontrol", requeue)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return JOB | {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_a_slurm_job_resumes(slurm, tmp_path):
    os.symlink(ROOT / "train.py", tmp_path / "train.py")
    command = (
        *("bash", SBATCH, "--config", QUICKSTART, "--trainer.max_epochs", "2"),
        *("--trainer.accelerator", "cpu", "--dashboard", "false", *callbacks()),
    )
    killed = run(*command, cwd=tmp_path, env=slurm | die({"at": "batch", "epoch": 1}))
    assert killed.status != 0
    ended = run(*command, cwd=tmp_path, env=slurm)
    assert ended.status == 0, ended.err
    assert "2 x cpu" in ended.out
    assert "going on from last.ckpt" in ended.out
    assert (tmp_path / "runs" / "slurm" / "77" / "results.json").exists()


def test_a_slurm_job_is_queued_again(slurm, tmp_path):
    (tmp_path / "bin" / "srun").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 60\n")
    job = subprocess.Popen(["bash", SBATCH], cwd=tmp_path, env=slurm, start_new_session=True)
    try:
        wait_for(tmp_path / "started")
        time.sleep(0.2)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(10) != 0
        assert (tmp_path / "scontrol").read_text() == "requeue 77\n"
    finally:
        os.killpg(job.pid, signal.SIGKILL)


def test_the_pods_of_kubernetes_agree_with_each_other():
    job = yaml.safe_load((ROOT / "docs" / "pytorchjob.yaml").read_text())
    pods = job["spec"]["pytorchReplicaSpecs"]
    container = pods["Master"]["template"]["spec"]["containers"][0]
    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    replicas = sum(pod["replicas"] for pod in pods.values())
    assert arguments["--trainer.num_nodes"] == str(replicas)
    assert arguments["--trainer.devices"] == job["spec"]["nprocPerNode"]
    assert arguments["--trainer.devices"] == str(container["resources"]["limits"]["nvidia.com/gpu"])
    assert (ROOT / container["command"][-1]).exists()


PAGE = (ROOT / "docs" / "scaling.md").read_text()
COMMANDS = [line for line in PAGE.splitlines() if re.match(r"(python|torchrun) .*train\.py", line)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_parse(train, command):
    arguments = shlex.split(command.partition("train.py")[2])
    arguments = [str(ROOT / word) if word.startswith("configs/") else word for word in arguments]
    ended = train(*arguments, "--print_config")
    assert (ended.status, ended.err) == (0, "")
    assert yaml.safe_load(ended.out)["trainer"]["devices"] == arguments[-1]


def test_each_promise_names_a_test_that_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    links = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", page)
    assert len(links) > 20
    for name, path in links:
        assert f"def {name}(" in (ROOT / path).read_text()


def test_tensorboard_never_listens_beyond_localhost():
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.yaml", "Makefile", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for name in tracked:
        if name.startswith("tests/"):
            continue
        for line in (ROOT / name).read_text().splitlines():
            assert not re.search(r"--bind_all|--host", line), (name, line)
