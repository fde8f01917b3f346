"""Writes the tables of stages in docs/models/ from the code of the networks.

    python -m tools.stage_tables            rewrites the pages
    python -m tools.stage_tables --check    names stale pages, and exits with 1 if there are any

A table is between `<!-- stages: models.vgg.vgg16 -->` and `<!-- /stages -->`.
"""

import importlib
import re
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PAGES = Path(__file__).parent.parent / "docs" / "models"
TABLE = re.compile(r"(<!-- stages: ([\w.]+) -->\n).*?(<!-- /stages -->)", re.DOTALL)
IMAGE_SIZES = {"models.lenet.LeNet5": 28}  # otherwise 224
# Layers that are counted in the row of the layer before them.
FOLDED = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Dropout, nn.BatchNorm2d)


def describe(module: nn.Module) -> str:
    """A short description of a stage."""
    match module:
        case nn.Conv2d():
            kernel, stride, padding = (
                pair[0] for pair in (module.kernel_size, module.stride, module.padding)
            )
            return f"conv {module.out_channels}, k{kernel} s{stride} p{padding}"
        case nn.Linear():
            return f"linear {module.out_features}"
        case nn.MaxPool2d() | nn.AvgPool2d():
            kind = "max" if isinstance(module, nn.MaxPool2d) else "average"
            return f"{kind} pool, k{module.kernel_size} s{module.stride}"
        case nn.AdaptiveAvgPool2d():
            return f"average pool to {module.output_size} x {module.output_size}"
        case nn.Sequential():
            if all(isinstance(part, (nn.Conv2d, *FOLDED)) for part in module):
                return "; ".join(describe(p) for p in module if isinstance(p, nn.Conv2d))
            kinds = [type(part).__name__ for part in module if not isinstance(part, FOLDED)]
            return ", ".join(f"{kinds.count(k)} x {k}" for k in dict.fromkeys(kinds))
        case _:
            return type(module).__name__


def stages(net: nn.Module) -> dict[str, nn.Module]:
    """The children of a network; a `Sequential` of different parts is replaced by its parts."""
    found: dict[str, nn.Module] = {}
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential) and name in ("features", "stem", "classifier"):
            found |= {f"{name}.{part}": module for part, module in child.named_children()}
        else:
            found[name] = child
    return found


def table(path: str) -> str:
    """The Markdown table of the network at an import path, for one gray image."""
    module, name = path.rsplit(".", 1)
    with torch.device("meta"):
        net = getattr(importlib.import_module(module), name)().eval()
        size = IMAGE_SIZES.get(path, 224)
        image = torch.empty(1, 1, size, size)
    rows: list[list] = []  # stage, description, shape, parameters, MACs
    counted: set[int] = set()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        flops = 0

        def record(name: str, stage: nn.Module, output: torch.Tensor) -> None:
            nonlocal flops
            new = [p for p in stage.parameters() if id(p) not in counted]
            counted.update(map(id, new))
            parameters, macs = sum(p.numel() for p in new), (counter.get_total_flops() - flops) // 2
            flops = counter.get_total_flops()
            if isinstance(stage, FOLDED):
                rows[-1][2:] = [output.shape, rows[-1][3] + parameters, rows[-1][4] + macs]
            else:
                rows.append([f"`{name}`", describe(stage), output.shape, parameters, macs])

        for stage_name, stage in stages(net).items():
            stage.register_forward_hook(
                lambda stage, _, output, name=stage_name: record(name, stage, output)
            )
        net(image)
    for stage_name, stage in stages(net).items():  # parts that eval mode does not run
        left = [p for p in stage.parameters() if id(p) not in counted]
        if left:
            rows.append(
                [f"`{stage_name}`", "in training only", (), sum(p.numel() for p in left), 0]
            )
    total = [sum(row[column] for row in rows) for column in (3, 4)]
    rows.append(["**all**", "", (), *total])
    lines = ["| stage | layers | output | parameters | MMAC |", "|---|---|---|---:|---:|"]
    for stage_name, layers, shape, parameters, macs in rows:
        sides = " x ".join(str(side) for side in shape[1:])
        lines.append(f"| {stage_name} | {layers} | {sides} | {parameters:,} | {macs / 1e6:,.2f} |")
    return "\n".join(lines) + "\n"


def stale_pages(folder: Path = PAGES, rewrite: bool = False) -> list[Path]:
    """The pages whose tables differ from the code; `rewrite` updates them."""
    stale = []
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        current = TABLE.sub(lambda match: match[1] + table(match[2]) + match[3], text)
        if current != text:
            stale.append(page)
            if rewrite:
                page.write_text(current, encoding="utf-8")
    return stale


if __name__ == "__main__":
    check = sys.argv[1:] == ["--check"]
    pages = stale_pages(rewrite=not check)
    for page in pages:
        print(f"{page}: {'stale, run python -m tools.stage_tables' if check else 'rewritten'}")
    sys.exit(1 if check and pages else 0)
