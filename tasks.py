"""Installs what is missing, then trains or tests, with Python 3.11 or newer.

    python tasks.py train [--config configs/lenet.yaml --trainer.max_epochs 3 ...]
    python tasks.py test [options of pytest]

The packages go into the virtual environment VENV, the active one, or .venv; a torch there is kept.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TOOLS = ("tools.stage_tables --check", "tools.results_table --check", "tools.rooms --check")
OF_TORCH = ("torch==", "torchvision==", "triton==", "nvidia-", "cuda-")


def run(*command: object) -> None:
    if status := subprocess.call([str(word) for word in command], cwd=ROOT):
        sys.exit(status)


def install(task: str, venv: Path, python: Path) -> None:
    listed, done = (ROOT / "constraints.txt").read_text(), venv / "installed"
    wanted = (ROOT / "pyproject.toml").read_text() + listed
    if done.exists() and done.read_text() in (f"{task}\n{wanted}", f"test\n{wanted}"):
        return
    if not python.exists():
        run(sys.executable, "-m", "venv", venv)
    found = subprocess.check_output([python, "-m", "pip", "list", "--format=freeze"], text=True)
    if kept := [line for line in found.split() if line.startswith(OF_TORCH[:2])]:
        kept += [line for line in listed.split() if not line.startswith(OF_TORCH)]
    (venv / "constraints.txt").write_text("\n".join(kept or [listed]))
    packages = ("--editable", ".[dev]" if task == "test" else ".")
    run(python, "-m", "pip", "install", *packages, "--constraint", venv / "constraints.txt")
    done.write_text(f"{task}\n{wanted}")


def main(task: str = "", *options: str) -> None:
    if task not in ("train", "test") or sys.version_info < (3, 11):
        sys.exit(__doc__)
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command, which ends by it
    active = sys.prefix if sys.prefix != sys.base_prefix else ROOT / ".venv"
    venv = Path(os.environ.get("VENV") or active).absolute()
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install(task, venv, python)
    if task == "test":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # for each of the two processes of pytest
        for check in ("ruff check .", "ruff format --check .", *TOOLS):
            run(python, "-m", *check.split())
        return run(python, "-m", "pytest", *options)
    os.chdir(ROOT)
    command = [str(python), "train.py", *(options or ["--config", "configs/quickstart.yaml"])]
    return run(*command) if os.name == "nt" else os.execv(python, command)  # signals reach it


if __name__ == "__main__":
    main(*sys.argv[1:])
