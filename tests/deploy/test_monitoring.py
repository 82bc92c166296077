"""Alert rules and dashboard of deploy/: about metrics that there are, in a Prometheus that scrapes
a real page.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedshelf.server.monitor.prometheus import exposition
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.state import ABSENT_STATES
from fedshelf.server.monitor.wording import STORE_STATE_WORDS
from fedshelf.server.results.run_status import RunStatus
from tests.helpers.deployed import SCRIPTS, free_port, wait_for
from tests.helpers.live_runs import LiveRun

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yml"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
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
        package = (
            "prometheus-alertmanager" if program == "prometheus-alertmanager" else "prometheus"
        )
        pytest.skip(f"no {program} on this machine; it comes with the Debian package {package}")


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
    assert {status for each in asked for status in each} <= set(RunStatus)


def test_the_stores_that_make_a_quorum_are_those_that_can_train() -> None:
    (unable,) = re.findall(r'state!~"([^"]+)"', DASHBOARD.read_text().replace("\\", ""))
    assert set(unable.split("|")) == ABSENT_STATES | {"resting"} < set(STORE_STATE_WORDS)


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
    """A Prometheus of our own that scrapes one page every second, and tells an Alertmanager of
    alerts if given.
    """

    def __init__(self, place: Path, page: int, alertmanager: str = "") -> None:
        self._address = f"127.0.0.1:{free_port()}"
        target = {"targets": [f"127.0.0.1:{page}"]}
        relabel = {"target_label": "instance", "replacement": "chain"}
        job = {"job_name": "fedshelf", "static_configs": [target], "relabel_configs": [relabel]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [job],
            "alerting": {
                "alertmanagers": (
                    [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
                )
            },
        }
        place.mkdir()
        (place / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML, too
        flags = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
        self._log = (place / "log").open("wb")
        command = ["prometheus", *flags, f"--web.listen-address={self._address}"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def _get(self, path: str, **parameters: str) -> Any:
        try:
            answer = httpx.get(
                f"http://{self._address}/api/v1/{path}", params=parameters, trust_env=False
            )
        except httpx.TransportError:  # it is starting
            return {}
        if answer.status_code == httpx.codes.BAD_REQUEST:
            pytest.fail(answer.text)
        # 503: it still reads its own files
        return answer.json().get("data", {}) if answer.is_success else {}

    def query(self, expression: str) -> list[dict[str, str]]:
        """The labels of what an expression finds now."""
        return [found["metric"] for found in self._get("query", query=expression).get("result", [])]

    def alerts(self, name: str) -> list[tuple[str, str]]:
        """State and store of each alert of that name."""
        alerts = [
            each
            for each in self._get("alerts").get("alerts", [])
            if each["labels"]["alertname"] == name
        ]
        return [(each["state"], each["labels"].get("store", "")) for each in alerts]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def page(run: LiveRun) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port of a page that watches the run, and its process."""
    port = free_port()
    process = subprocess.Popen(
        [SCRIPTS / "flower-server", "watch", run.path, "--port", str(port)], stdout=sys.stderr
    )
    yield port, process
    process.kill()
    process.wait()


class Alertmanager:
    """An Alertmanager of our own that sends what it is told to a web hook."""

    def __init__(self, place: Path, hook: int) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        told = {"url": f"http://127.0.0.1:{hook}/"}
        place.mkdir()
        route = {"receiver": "hook", "group_by": ["alertname", "instance"], "group_wait": "0s"}
        settings = {"route": route, "receivers": [{"name": "hook", "webhook_configs": [told]}]}
        (place / "alertmanager.yml").write_text(json.dumps(settings))
        self._log = (place / "log").open("wb")
        flags = [
            f"--config.file={place}/alertmanager.yml",
            f"--storage.path={place}/data",
            "--cluster.listen-address=",
        ]
        command = ["prometheus-alertmanager", *flags, f"--web.listen-address={self.address}"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


class Hook(ThreadingHTTPServer):
    """Takes what an Alertmanager sends."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _HookHandler)

    def of(self, name: str) -> list[dict[str, Any]]:
        """The alerts of this name that came."""
        return [alert for alert in self.alerts if alert["labels"]["alertname"] == name]


class _HookHandler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.alerts += body["alerts"]
        self.send_response(200)
        self.end_headers()


@pytest.mark.slow(minutes=0.5)
def test_an_alertmanager_sends_who_is_on_duty_a_sentence_on_what_failed(
    run: LiveRun, page: tuple[int, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    needs("prometheus")
    needs("prometheus-alertmanager")
    with ExitStack() as stack, Hook() as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        stack.callback(hook.shutdown)
        manager = Alertmanager(tmp_path / "alertmanager", hook.server_address[1])
        stack.callback(manager.end)
        prometheus = Prometheus(tmp_path / "prometheus", page[0], manager.address)
        stack.callback(prometheus.end)
        with run.at_work():
            wait_for(lambda: prometheus.query('fedshelf_status{status="training"} == 1'))
        run.fail("Too few stores.")
        wait_for(lambda: hook.of("FedshelfRunFailed"), 240)
    told = hook.of("FedshelfRunFailed")[0]
    assert (told["status"], told["labels"]["severity"], told["labels"]["instance"]) == (
        "firing",
        "critical",
        "chain",
    )
    assert told["annotations"]["summary"] == "The training at chain has failed."
    assert {alert["labels"]["alertname"] for alert in hook.alerts} == {"FedshelfRunFailed"}


@pytest.fixture
def prometheus(tmp_path: Path, page: tuple[int, subprocess.Popen[bytes]]) -> Iterator[Prometheus]:
    needs("prometheus")
    started = Prometheus(tmp_path / "prometheus", page[0])
    yield started
    started.end()


@pytest.mark.slow(minutes=0.5)
def test_a_prometheus_learns_which_store_is_dead_and_how_the_run_ended(
    run: LiveRun, page: tuple[int, subprocess.Popen[bytes]], prometheus: Prometheus
) -> None:
    with run.at_work():
        wait_for(lambda: prometheus.query('fedshelf_status{status="training"} == 1'))
        assert [found["store"] for found in prometheus.query("fedshelf_store_present == 0")] == [
            "oslo-7"
        ]
        wait_for(lambda: prometheus.alerts("FedshelfStoreAway") == [("pending", "oslo-7")])
        wait_for(lambda: prometheus.query("rate(fedshelf_rounds_total[15m])"))
        for expression in expressions():
            wait_for(lambda query=expression: prometheus.query(query) or "increase" in query)
        run.records[6]["failed"] = {"oslo-7": {"code": "timeout", "reason": "no answer in time"}}
        run.play(7, 7)
        # only now has something failed
        (increase,) = (each for each in expressions() if "increase" in each)
        wait_for(lambda: prometheus.query(increase))
        run.end()
    wait_for(lambda: prometheus.query('fedshelf_status{status="finished"} == 1'))
    wait_for(lambda: prometheus.alerts("FedshelfStoreAway") == [])
    wait_for(lambda: prometheus.query('up{job="fedshelf"} == 1'))  # what watches a run outlives it
    # one scrape in a second may fail on a busy machine
    wait_for(lambda: prometheus.alerts("FedshelfNotWatched") == [])
    for name in ("FedshelfRunFailed", "FedshelfRunDead", "FedshelfHeldUp"):
        assert prometheus.alerts(name) == []
    run.fail("Too few stores.")
    wait_for(lambda: prometheus.alerts("FedshelfRunFailed") == [("firing", "")])
    page[1].kill()
    wait_for(lambda: prometheus.alerts("FedshelfNotWatched") == [("pending", "")])
