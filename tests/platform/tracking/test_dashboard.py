"""MLflow's UI in a real browser shows a study as docs/dashboards.md says, without an error in the console."""

import contextlib
import fnmatch
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from micro_study import STUDY
from places import ROOT
from test_reproduce import images

from deepblur.platform.experiment.main import main
from deepblur.platform.tracking.pages import comparison_page, run_page, view_page
from deepblur.platform.tracking.tracker import Tracker

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--window-size=1600,1000")  # fmt: skip
WAIT_S = 400
"""A server alone takes ten seconds to start, and half a minute where other tests run beside it."""
NOISE = re.compile(r"/mlflow/users/current - Failed to load resource.* 404")
"""MLflow's UI asks its server who is signed in, and without authentication the server does not know the question."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A study in MLflow: its tracker, and name → id of its runs."""
    home = tmp_path_factory.mktemp("dashboard")
    uri = f"sqlite:///{home}/mlflow.db"
    data = images(home / "images")
    assert main(STUDY, ["--local", "--data", data, "--runs", str(home / "runs"), "--tracking-uri", uri]) == 0
    tracker = Tracker.open(uri, STUDY.name)
    runs = tracker.client.search_runs([tracker.experiment_id])
    return tracker, {run.info.run_name: run.info.run_id for run in runs}


@pytest.fixture(scope="module")
def server(recorded):
    """Address of `mlflow server` on the record."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", recorded[0].uri,
               "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: urllib.request.urlopen(f"{address}/health", timeout=5).status == 200)
        yield f"{address}/"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):  # in this order: without a browser no server is started
    """page(address) opens it and gives a function that waits for texts; the console must stay without errors."""

    def opened(address):
        browser.get("about:blank")
        browser.get(server + address)

        def shows(*texts):
            until(lambda: all(text in body(browser) for text in texts))

        return shows

    browser.get_log("browser")
    yield opened
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if not NOISE.search(message)] == []


def body(browser):
    return browser.find_element("tag name", "body").text


def until(condition):
    end = time.monotonic() + WAIT_S
    while True:
        try:
            if condition():
                return
            problem = "it does not hold"
        except Exception as error:  # not there yet, or just replaced
            problem = repr(error)
        assert time.monotonic() < end, problem
        time.sleep(0.2)


def test_the_saved_view_lists_the_arms_by_name_and_nothing_else(recorded, page, browser):
    tracker, _ = recorded
    shows = page(view_page(tracker.experiment_id, "arms"))
    shows("true, seed 0 (quick)", "estimated, seed 0 (quick)", "2 matching runs", "test/psnr_gain_db", "arm")
    assert "IN, seed 0 (quick)" not in body(browser)


def test_two_arms_are_compared(recorded, page):
    tracker, ids = recorded
    arms = [ids[name] for name in ("true, seed 0 (quick)", "estimated, seed 0 (quick)")]
    shows = page(comparison_page(tracker.experiment_id, arms))
    shows("Comparing 2 Runs from 1 Experiment", "estimated, seed 0 (quick)", "test/eta_0.05/psnr_gain_db", "operator")


def test_the_description_says_what_came_out_and_leads_to_the_report(recorded, page, browser):
    tracker, ids = recorded
    shows = page(run_page(tracker.experiment_id, ids["micro_study quick"]))
    shows("Does the machinery hold?", "PSNR gain (dB)", "Open the report", "Compare the arms")
    link = browser.find_element("link text", "Open the report").get_attribute("href")
    shows = page(link.partition("/#")[2].join(["#", ""]))
    shows("report.html")
    until(lambda: browser.find_elements("tag name", "iframe"))
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    shows("Does the machinery hold?", "Verdict", "Pictures", "Provenance")
    shown = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    browser.switch_to.default_content()
    assert shown
    assert min(shown) > 0


def test_every_metric_is_in_the_table_of_the_documentation(recorded):
    tracker, ids = recorded
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    names = re.findall(r"`([a-z]+/[^`]*)`", text)
    groups = {re.sub("NET|LEVEL|WAVES|CLASS|MEASURE|ARM", "*", name.rpartition("/")[0]) for name in names}
    for run in ids.values():
        for metric in tracker.client.get_run(run).data.metrics:
            assert any(fnmatch.fnmatch(metric.rpartition("/")[0], group) for group in groups), metric


def test_an_arm_has_its_pictures_in_the_image_grid(recorded):
    tracker, ids = recorded
    files = tracker.client.list_artifacts(ids["estimated, seed 0 (quick)"], "images")
    for name in ("blurry", "restored", "sharp", "psf_true", "psf_estimated"):
        assert any(file.path.startswith(f"images/{name}") for file in files), name
