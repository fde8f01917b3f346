"""Prints the rooms of the project with their lines and imports, and checks their order.

    python -m tools.rooms            the rooms by floor, with their lines and imports
    python -m tools.rooms --check    exits with 1 if an import goes upwards or is circular

A room is a folder or a script; a floor is a layer. A room imports from lower floors and itself.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = (
    ("terminal",),
    ("models", "datamodules", "lit_modules"),
    ("callbacks", "inference"),
    ("training",),
    ("comparison", "sweeping"),
    ("train", "evaluate", "predict", "export", "compare", "sweep", "tasks"),
    ("benchmarks",),
    ("tools",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def files(root: Path = ROOT) -> dict[str, Path]:
    """The files of all rooms by import name."""
    paths = [root / f"{room}.py" for room in FLOOR_OF if (root / f"{room}.py").exists()]
    for room in FLOOR_OF:
        paths += sorted((root / room).glob("*.py"))
    names = {".".join(path.relative_to(root).with_suffix("").parts): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The files that a file imports, also within functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        if isinstance(node, ast.ImportFrom) and node.module in known:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name if name in known else node.module for name in inner]


def problems(root: Path = ROOT) -> list[str]:
    """Imports that do not go to a lower floor, and an import cycle if there is one."""
    known = files(root)
    graph = {name: set(imports(path, known)) for name, path in known.items()}
    found = []
    for name, needed in graph.items():
        room = name.partition(".")[0]
        for other in sorted(needed):
            other_room = other.partition(".")[0]
            if room != other_room and FLOOR_OF[other_room] >= FLOOR_OF[room]:
                found.append(f"{name} imports {other}, which is not lower")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"an import cycle: {' < '.join(error.args[1])}")
    return found


def describe() -> Iterator[str]:
    """A line for each room: its lines of code and the rooms that it imports from."""
    known, total = files(), 0
    for rooms in reversed(FLOORS):
        for room in rooms:
            own = {name: path for name, path in known.items() if name.partition(".")[0] == room}
            lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own.values())
            needed = {other.partition(".")[0] for p in own.values() for other in imports(p, known)}
            lower = sorted(needed - {room}, key=lambda other: FLOOR_OF[other])
            total += lines
            yield f"{room:<12}{lines:>6}  {', '.join(lower)}"
        yield ""
    yield f"{'all':<12}{total:>6}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        print("\n".join(describe()))
    if found := problems():
        sys.exit("\n".join(found))
