"""Time from the command to the first training step, against its imports alone.

    python -m benchmarks.startup [--root DIR] [--rounds 5] [--json FILE]

Whole processes, started in turns: `train.py` until the end of its first step, `import torch,
lightning.pytorch` and `train.py --help`. Ratios are of the medians.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.report import benchmark_parser, report, write_json

ROOT = Path(__file__).parent.parent


class EndAfterTheFirstStep(Callback):
    """Ends the process after one step."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: object
    ) -> None:
        os._exit(0)


def seconds_of(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_step(root: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return seconds_of(
            *("train.py", "--config", "configs/lenet.yaml", "--data.root", str(root)),
            *(
                "--run_dir",
                folder,
                "--trainer.callbacks",
                "benchmarks.startup.EndAfterTheFirstStep",
            ),
        )


def main() -> None:
    parser = benchmark_parser(__doc__)
    args = parser.parse_args()
    root = args.root.resolve()
    seconds: dict[str, list[float]] = {"first step": [], "imports": [], "--help": []}
    for _ in range(args.rounds):
        seconds["first step"].append(first_step(root))
        seconds["imports"].append(seconds_of("-c", "import torch, lightning.pytorch"))
        seconds["--help"].append(seconds_of("train.py", "--help"))
    write_json(args.json, [report("start of train.py", "seconds", seconds)])


if __name__ == "__main__":
    main()
