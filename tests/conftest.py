"""What holds for all tests, and the S3 server and the browser that some of them use."""

from __future__ import annotations

import gc
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.s3_server import S3Server, s3_server, use_s3

from midspec.core.garbage import freeze_modules

# No example has a deadline: beside other work one can take seconds.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Under nohup and in a shell's background signals are ignored by all that tests start, and some say what these do.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

# What tests import is a million objects. To walk through them again and again took a quarter of the time of all tests.
gc.set_threshold(100_000, 20, 20)
_MANY_MODULES = 100
_n_frozen = 0


def pytest_collection_finish() -> None:
    """Have garbage collection pass over what was imported."""
    _freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Pass over what else was imported: Trainer and Inspect collect in full, 0.6 s each time for all modules."""
    if nextitem is None or nextitem.path != item.path or len(sys.modules) > _n_frozen + _MANY_MODULES:
        _freeze()


def _freeze() -> None:
    global _n_frozen  # of the process, as are modules
    _n_frozen = freeze_modules(0)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: packed ones hold the time, and processes must have tests of the same names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started when the first test asks for it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of an empty folder in its bucket, which this process may write."""
    use_s3(monkeypatch, s3_process.port)
    return f"s3://runs/{tmp_path.name}"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real headless browser, started when the first test asks for it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not program or not driver_path:
        pytest.skip("NO BROWSER: chromium and chromedriver are not installed, so pages were NOT seen in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Any:
    """The browser, with the screen that it had at first and nothing on its console."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {})
    chromium.get_log("browser")
    return chromium
