"""A console that cannot show a character, as LC_ALL=C or a code page of Windows."""

import sys

import pytest

from tests.running import ROOT, run

SCRIPT = """
from terminal.console import console, print_facts, print_table
from terminal.errors import UserError, one_line_errors

with one_line_errors():
    print("数字")
    print_facts({"run": "图像"})
    print_table(("class",), [("七",)])
    console.print("答案", soft_wrap=True, markup=False)
    raise UserError("there is no config 配置.")
"""
SHOWN = "\\u6570\\u5b57", "\\u56fe\\u50cf", "\\u4e03", "\\u7b54\\u6848"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "ascii:strict"])
def test_what_a_console_cannot_show_is_escaped(encoding):
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    ended = run(sys.executable, "-c", SCRIPT, cwd=ROOT, env=environment)
    assert (ended.status, ended.err) == (2, "error: there is no config \\u914d\\u7f6e.\n")
    for text in SHOWN:
        assert text in ended.out
