"""Alert rules and dashboard of deploy/: about metrics that there are, in a Prometheus that scrapes a real page."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.live.metrics import exposition
from server.live.phrases import STORE
from server.live.reader import RunReader
from server.live.state import ABSENT
from server.status import Status
from tests.deployment.deployed import SCRIPTS, free_port, wait_for
from tests.server.live_runs import LiveRun

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS, DASHBOARD = DEPLOY / "prometheus-alerts.yml", DEPLOY / "grafana-dashboard.json"
CASES = Path(__file__).with_name("alert_cases.yml")
NAMES = ["lyon-2", "oslo-7", "süd 2"]


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    run = LiveRun(tmp_path / "chain", stores=NAMES)
    run.joined()
    run.play(1, 6)
    run.tell(**{"oslo-7": {"state": "away"}})
    return run


def expressions() -> list[str]:
    """The queries of the dashboard's panels, for the training that the tests scrape."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [each.replace("$job", "fedshelf").replace("$instance", "chain") for each in found]


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program} on this machine; it comes with the Debian package prometheus")


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD, CASES], ids=lambda path: path.name)
def test_there_are_the_metrics_that_they_ask_for(path: Path, run: LiveRun) -> None:
    with run.at_work():
        told = exposition(RunReader(run.path).look()).decode()
    exported = set(re.findall(r"^(fedshelf_\w+)", told, re.MULTILINE))
    asked = set(re.findall(r"\bfedshelf_\w+", path.read_text()))
    assert len(asked) >= 5
    assert asked <= exported


def test_there_are_the_statuses_that_they_ask_for() -> None:
    asked = [each.split("|") for each in re.findall(r'status=~?"([^"]+)"', ALERTS.read_text())]
    assert len(asked) >= 4
    assert {status for each in asked for status in each} <= set(Status)


def test_the_stores_that_make_a_quorum_are_those_that_can_train() -> None:
    (unable,) = re.findall(r'state!~"([^"]+)"', DASHBOARD.read_text().replace("\\", ""))
    assert set(unable.split("|")) == ABSENT | {"resting"} < set(STORE)


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_alerts_fire_when_they_are_to_and_never_for_success() -> None:
    needs("promtool")
    for arguments in (["check", "rules", ALERTS], ["test", "rules", CASES]):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)", CASES.read_text()))
    assert tested == set(re.findall(r"alert: (\w+)", ALERTS.read_text()))


class Prometheus:
    """A Prometheus of our own that scrapes one page every second."""

    def __init__(self, place: Path, page: int) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        target = {"targets": [f"127.0.0.1:{page}"]}
        relabel = {"target_label": "instance", "replacement": "chain"}
        job = {"job_name": "fedshelf", "static_configs": [target], "relabel_configs": [relabel]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [job],
        }
        place.mkdir()
        (place / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML, too
        flags = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
        self._log = (place / "log").open("wb")
        command = ["prometheus", *flags, f"--web.listen-address={self._address}"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            answer = httpx.get(f"http://{self._address}/api/v1/{path}", params=parameters, trust_env=False)
        except httpx.TransportError:  # it is starting
            return {}
        return answer.json().get("data", {}) if answer.status_code != 400 else pytest.fail(answer.text)

    def query(self, expression: str) -> list[dict[str, str]]:
        """The labels of what an expression finds now."""
        return [found["metric"] for found in self._get("query", query=expression).get("result", [])]

    def alerts(self, name: str) -> list[tuple[str, str]]:
        """State and store of each alert of that name."""
        alerts = [each for each in self._get("alerts").get("alerts", []) if each["labels"]["alertname"] == name]
        return [(each["state"], each["labels"].get("store", "")) for each in alerts]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def page(run: LiveRun) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port of a page that watches the run, and its process."""
    port = free_port()
    process = subprocess.Popen([SCRIPTS / "flower-server", "watch", run.path, "--port", str(port)], stdout=sys.stderr)
    yield port, process
    process.kill()
    process.wait()


@pytest.fixture
def prometheus(tmp_path: Path, page: tuple[int, subprocess.Popen[bytes]]) -> Iterator[Prometheus]:
    needs("prometheus")
    started = Prometheus(tmp_path / "prometheus", page[0])
    yield started
    started.end()


@pytest.mark.slow
def test_a_prometheus_learns_which_store_is_dead_and_how_the_run_ended(
    run: LiveRun, page: tuple[int, subprocess.Popen[bytes]], prometheus: Prometheus
) -> None:
    with run.at_work():
        wait_for(lambda: prometheus.query('fedshelf_status{status="training"} == 1'))
        assert [found["store"] for found in prometheus.query("fedshelf_store_present == 0")] == ["oslo-7"]
        wait_for(lambda: prometheus.alerts("FedshelfStoreAway") == [("pending", "oslo-7")])
        wait_for(lambda: prometheus.query("rate(fedshelf_rounds_total[15m])"))
        for expression in expressions():
            wait_for(lambda query=expression: prometheus.query(query) or "increase" in query)
        run.end()
    wait_for(lambda: prometheus.query('fedshelf_status{status="finished"} == 1'))
    wait_for(lambda: prometheus.alerts("FedshelfStoreAway") == [])
    wait_for(lambda: prometheus.query('up{job="fedshelf"} == 1'))  # what watches a run outlives it
    wait_for(lambda: prometheus.alerts("FedshelfNotWatched") == [])  # one scrape in a second may fail on a busy machine
    for name in ("FedshelfRunFailed", "FedshelfRunDead", "FedshelfHeldUp"):
        assert prometheus.alerts(name) == []
    run.fail("Too few stores.")
    wait_for(lambda: prometheus.alerts("FedshelfRunFailed") == [("firing", "")])
    page[1].kill()
    wait_for(lambda: prometheus.alerts("FedshelfNotWatched") == [("pending", "")])
