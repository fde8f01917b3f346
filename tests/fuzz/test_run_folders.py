"""Generated run folders, beside a valid one."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

import compare
from tests.fuzz.running import run_watched
from tests.fuzz.watching import contents
from tests.running import ROOT

SOUND = ROOT / "results" / "lenet" / "1"
FILES = ("results.json", "config.yaml", "metrics.csv")
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *(
                "",
                "\x1b[31mred",
                "a|b",
                "<script>",
                "![x](http://x)",
                "$\\frac$",
                "$$",
                "\n\n# a",
                "`",
            ),
            *(
                "é" * 2000,
                "\u202e",
                "models.evil",
                "torch.nn",
                "torch.hub.load",
                "torch..",
                "lenet",
            ),
            *("lightning.pytorch.Trainer", "models.lenet.LeNet5", "torch.optim.SGD", "callbacks.a"),
        ]
    ),
)
numbers = st.one_of(
    st.integers(-2, 2000),
    st.floats(),
    st.sampled_from([10**400, 2**63, 1e308, 0.5, 10**18]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
keys = st.sampled_from(list(json.loads((SOUND / "results.json").read_text())))
yamls = st.sampled_from(
    [
        *(
            "",
            "5",
            "- 1",
            "a: 2020-13-45",
            "a: 2020-12-15",
            "1: x",
            "a: &a [*a]",
            "a: &a {b: *a}",
            "? [1]",
        ),
        *(
            "[" * 9999,
            "a: !!python/object/apply:os.system ['x']",
            "model: {class_path: [1]}",
            "\t",
            "a: b: c",
        ),
        *(
            "trainer: {callbacks: {a: 1}}",
            "trainer: {precision: [1]}",
            "model: {class_path: {a: 1}}",
        ),
        *("trainer: 5", "trainer: {callbacks: 5}", "model: {class_path: torch.nn, init_args: 5}"),
        "\n".join(
            f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
        ),
    ]
)
tables = st.sampled_from(
    [
        *(
            "",
            "a,b\n1,2\n",
            "epoch,val/acc\ninf,1\n",
            "epoch,val/acc\n1,inf\n",
            "epoch,val/acc\n1\n",
        ),
        *(
            "epoch,val/acc\n1e300,0.5\n",
            "epoch,val/acc\n-1,0.5\n",
            "epoch,val/acc\n1,\0\n",
            "epoch,val/acc\n0,0\n",
        ),
        *(
            'epoch,val/acc\n"1,0.5\n',
            "epoch,val/acc\n" + "9" * 200_000 + ",0.5\n",
            "epoch,epoch,val/acc\n1,2,3\n",
        ),
    ]
)
damages = st.one_of(
    st.tuples(st.just("field"), keys, values),
    st.tuples(st.just("without"), keys, st.none()),
    st.tuples(st.just("json"), st.just("results.json"), values),
    st.tuples(
        st.just("config"), st.just("config.yaml"), st.dictionaries(texts, values, max_size=4)
    ),
    st.tuples(st.just("text"), st.just("config.yaml"), yamls),
    st.tuples(st.just("text"), st.just("metrics.csv"), tables),
    st.tuples(st.just("cut"), st.sampled_from(FILES), st.floats(0, 1)),
    st.tuples(st.just("flip"), st.sampled_from(FILES), st.floats(0, 1)),
    st.tuples(
        st.sampled_from(["pipe", "folder", "loop", "none"]), st.sampled_from(FILES), st.none()
    ),
)
runs = st.lists(st.tuples(texts, st.lists(damages, max_size=3)), min_size=1, max_size=3)


def make(folder, name, damaged):
    """A valid run, or one with some damage."""
    path = folder / "".join(char for char in name if char not in "/\0")[:40] / "1"
    try:
        shutil.copytree(SOUND, path)
    except (OSError, ValueError):  # not a valid file name
        path = folder / str(len(os.listdir(folder))) / "1"
        shutil.copytree(SOUND, path)
    results = json.loads((path / "results.json").read_text())
    for kind, what, value in damaged:
        file = path / what
        if kind == "field":
            results[what] = value
        elif kind == "without":
            results.pop(what, None)
        elif kind == "json":
            results = value if isinstance(value, dict) else results
        elif kind == "config":
            file.write_text(json.dumps(value))
        elif kind == "text":
            file.write_text(value)
    (path / "results.json").write_text(json.dumps(results))
    for kind, what, value in damaged:
        file = path / what
        if kind in ("cut", "flip") and file.is_file() and (content := bytearray(file.read_bytes())):
            at = int((len(content) - 1) * value)
            content[at] ^= 1 << at % 8
            file.write_bytes(content[:at] if kind == "cut" else content)
        elif kind in ("pipe", "folder", "loop", "none") and file.is_file():
            file.unlink()
            if kind == "pipe":
                os.mkfifo(file)
            elif kind == "folder":
                file.mkdir()
            elif kind == "loop":
                file.symlink_to(file)


@given(runs)
def test_one_damaged_run_hides_no_other(made):
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "runs", Path(name) / "out"
        shutil.copytree(SOUND, folder / "a sound one" / "1")
        (folder / "a sound one" / "1" / "results.json").write_text(
            (SOUND / "results.json").read_text().replace('"lenet"', '"sound"')
        )
        for title, damaged in made:
            make(folder, title, damaged)
        before = contents(folder)
        # Pictures take longer than all the rest: only for some inputs.
        draw = compare.write_figures if len(made) == 1 else lambda *_: []
        with mock.patch("compare.write_figures", draw):
            ended = run_watched(
                *(compare.main, folder, "--out", out), inputs=Path(name), writable=[out]
            )
        assert contents(folder) == before
        assert ended.status == 0
        assert "sound" in ended.out
        rows = [row for row in (out / "results.md").read_text().splitlines() if row.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
