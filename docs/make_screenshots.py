"""Take the pictures of the documentation: pages of the runs that are named on the command line, in headless Chromium.

python docs/make_screenshots.py runs/fashion --compare runs/green runs/random
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from greennas.report import write_report
from greennas.report.comparison_page import write_comparison
from greennas.results import SearchResult
from greennas.run import RunFolder

IMAGES = Path(__file__).parent / "images"
WIDE: dict[str, Any] = {"viewport": {"width": 1160, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def main() -> None:
    """Write ``docs/images/*.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder for the report")
    parser.add_argument("--compare", type=Path, nargs="+", default=[], help="run folders for the comparison")
    given = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        report = Path(folder) / "report.html"
        run = RunFolder.open(given.run)
        write_report(SearchResult(run.config, run.read_study(), run.path), report)
        browser = driver.chromium.launch(executable_path=chromium, args=["--disable-gpu"])

        def opened(page: Path, **device: Any) -> Page:
            tab: Page = browser.new_context(reduced_motion="reduce", **device).new_page()
            tab.goto(page.as_uri())
            return tab

        tab = opened(report, **WIDE)
        save("report", tab.screenshot())  # first of all: pictures of parts scroll the page
        save("front", tab.locator("[data-figure=pareto]").screenshot())
        tab.locator(".walk button").last.click()
        save("networks", tab.locator("#networks").screenshot())
        save("parallel", tab.locator("#parallel figure").screenshot())
        save("report-dark", opened(report, **WIDE, color_scheme="dark").screenshot())
        save("report-phone", opened(report, **PHONE).screenshot())
        if given.compare:
            comparison = Path(folder) / "comparison.html"
            write_comparison(given.compare, comparison)
            save("comparison", opened(comparison, **WIDE).screenshot())
        browser.close()


def save(name: str, picture: bytes) -> None:
    """Write a picture with 128 colours, which lines and letters do not need more of."""
    file = IMAGES / f"{name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(128).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
