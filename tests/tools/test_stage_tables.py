import shutil

import pytest

from tests.models.networks import NETWORKS
from tests.models.test_networks import COUNTS
from tools.stage_tables import PAGES, TABLE, stale_pages, table


def test_pages_are_up_to_date():
    assert stale_pages() == []


def test_each_family_has_a_page_with_a_table():
    families = {name.split(".")[0] for name in NETWORKS}
    assert families == {page.stem for page in PAGES.glob("*.md")}
    for page in PAGES.glob("*.md"):
        text = page.read_text()
        assert TABLE.search(text)
        for part in ("```mermaid", "What it changed", "Departures from the paper", "Train it"):
            assert part in text, (page, part)


@pytest.mark.parametrize("name", COUNTS)
def test_a_table_adds_up_to_the_counts_of_the_paper(name):
    parameters, mmacs, _ = COUNTS[name]
    total = table(f"models.{name}").splitlines()[-1]
    assert f"| {parameters:,} |" in total
    found = float(total.split("|")[-2].replace(",", ""))
    assert round(found, 2 if mmacs < 1 else 0) == mmacs


def test_an_outdated_page_is_found_and_updated(tmp_path):
    shutil.copy(PAGES / "lenet.md", tmp_path)
    page = tmp_path / "lenet.md"
    whole = page.read_text()
    page.write_text(whole.replace("48,120", "48,121"))
    assert stale_pages(tmp_path) == [page]
    assert "48,121" in page.read_text()
    stale_pages(tmp_path, rewrite=True)
    assert page.read_text() == whole
