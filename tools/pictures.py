"""Makes the pictures of the README from finished runs.

    python -m tools.pictures --runs runs [--root data] [--chromium chromium]

The pictures of the tour are made from `lenet_fashion/1` in `runs`, those of comparisons from
`results`. All are written to `docs/images`.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
PAGES = {"custom_scalars": "dashboard_curves.png", "images": "dashboard_images.png"}


def photograph_dashboard(folder: Path, chromium: str) -> None:
    """Screenshots of TensorBoard in a browser."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", folder.name, "--port", "0"],
        cwd=folder.parent,  # the page shows the path as it is given
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        lines = (re.search(r"http://\S+", line) for line in server.stderr)
        address = next(match[0] for match in lines if match)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            for page_name, picture in PAGES.items():
                page: Page = browser.new_page(viewport={"width": 1100, "height": 650})
                page.goto(f"{address}#{page_name}")
                if page_name == "images":
                    page.get_by_label("Filter tags").fill("test/conf")
                page.wait_for_timeout(8_000)  # until it is drawn
                for legend in page.get_by_text("Matches").all():
                    legend.click()
                page.wait_for_timeout(1_000)
                page.screenshot(path=IMAGES / picture)
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--root", default="data")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    args = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    best = args.runs / "lenet_fashion" / "1" / "checkpoints" / "best.ckpt"
    with tempfile.TemporaryDirectory() as folder:
        for command in (
            ["evaluate.py", best, "--data.root", args.root, "--figure", IMAGES / "confusion.png"],
            ["predict.py", best, "--data.root", args.root, "--out", folder],
            ["compare.py", "results", "--out", folder],
        ):
            subprocess.run([sys.executable, *map(str, command)], check=True)
        for name in ("predictions", "learning_curves", "accuracy_parameters", "accuracy_time"):
            shutil.copy(Path(folder) / f"{name}.png", IMAGES)
    photograph_dashboard(args.runs / "lenet_fashion", args.chromium)


if __name__ == "__main__":
    main()
