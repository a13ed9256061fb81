"""A real browser without a window, for what only a browser can tell."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium through selenium, which records every request and console message; skips where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver: the page is not opened in a real browser")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def resize(opened: Any, width: int, height: int = 900) -> None:
    """Give the page a width in CSS pixels, as a phone has it."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def medium(opened: Any, name: str) -> None:
    """`print` for what a printer gets, `screen` for what is seen."""
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": name})


def scheme(opened: Any, name: str) -> None:
    """`dark` or `light`, as the system would say."""
    features = [{"name": "prefers-color-scheme", "value": name}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def address(file: Path) -> str:
    return file.resolve().as_uri()
