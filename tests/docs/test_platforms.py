"""The versions of Python that are named are the tested ones."""

import re
import tomllib

import yaml

from tests.conftest import ROOT


def test_the_versions_of_python_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "platforms.md").read_text()
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    assert re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])) == tested
    assert re.findall(r"^\| Python (3\.\d+)", page, re.MULTILINE) == tested
    assert project["requires-python"] == f">={tested[0]}"
