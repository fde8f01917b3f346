"""No import goes to a higher layer or in a cycle."""

import pytest

from tools.rooms import FLOOR_OF, ROOT, files, imports, problems


def test_no_import_goes_upwards_or_in_a_cycle():
    assert problems() == []


def test_every_folder_of_code_and_every_script_is_a_room():
    folders = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests"}
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert folders | scripts == set(FLOOR_OF)


@pytest.mark.parametrize(
    ("files_of_a_house", "problem"),
    [
        ({"terminal/a.py": "def f():\n    from training.b import c", "training/b.py": ""}, "lower"),
        ({"lit_modules/a.py": "import datamodules.b", "datamodules/b.py": ""}, "lower"),
        ({"models/a.py": "import train", "train.py": ""}, "lower"),
        ({"models/a.py": "from models import b", "models/b.py": "import models.a"}, "cycle"),
        (
            {
                "models/a.py": "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    from models.b import B",
                "models/b.py": "from models.a import A",
            },
            "cycle",
        ),
    ],
)
def test_finds_wrong_imports(tmp_path, files_of_a_house, problem):
    for name, text in files_of_a_house.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).parent.joinpath("__init__.py").touch()
    assert [problem in found for found in problems(tmp_path)] == [True]


def test_finds_all_imports():
    known = files()
    assert {"training.cli", "terminal.console"} <= set(imports(known["train"], known))
    assert "sweeping.study" in set(imports(known["sweep"], known))  # within a function
