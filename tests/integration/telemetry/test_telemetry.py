"""What a run tells: JSON lines, metrics of the web server and of workers, traces; on a real ledger, over real HTTP."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from segwatch.db import analyst, tokens
from segwatch.db.embedded.ports import find_free_port
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.cadence import find_next
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.orchestration.heartbeats import register_run
from segwatch.flows.telemetry import logs, metrics, tracing
from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import queue

LAKE = cells(1, 1, 4, 4)
ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deployments" / "monitoring"


@pytest.fixture
def json_lines() -> Iterator[io.StringIO]:
    """What a root handler writes as JSON; afterwards, logging is as before."""
    root, own = logging.getLogger(), logging.getLogger("segwatch")
    handlers, level = list(root.handlers), own.level
    stream = io.StringIO()
    root.handlers = [logging.StreamHandler(stream)]
    yield stream
    root.handlers = handlers
    own.setLevel(level)


def read_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_run_writes_one_json_line_for_each_scene(engine: Engine, json_lines: io.StringIO) -> None:
    settings = load_settings(logs="json", linger_seconds=0.0, evidence="none")
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Well().version, count=2)
        with register_run(engine, settings, "segment", watch="lakes"):
            Drain(engine, Well(), settings).run()
    scenes = [line for line in read_lines(json_lines) if "scene" in line]
    assert len(scenes) == 2
    with engine.connect() as conn:
        run = conn.execute(text("SELECT id FROM segwatch.run")).scalar_one()
        rows = analyst.list_usage(conn)
    for line in scenes:
        assert (line["run"], line["flow"], line["watch"], line["level"]) == (
            str(run),
            "segment",
            "lakes",
            "info",
        )
        assert line["outcomes"] == {"observed": 1}
        assert line["watches"] == ["lakes"]
        assert line["seconds"] > 0
        assert line["bytes_read"] > 0
    (row,) = rows
    assert (row["watch"], row["outcome"], row["attempts"]) == ("lakes", "observed", 2)
    assert row["bytes_read"] == sum(line["bytes_read"] for line in scenes)
    assert row["area_km2"] > 0


def test_json_lines_of_errors_hold_a_traceback_without_secrets(json_lines: io.StringIO) -> None:
    logs.write_json()
    try:
        raise ValueError("cannot read https://files.example/a.tif?sig=SECRETSECRET")
    except ValueError:
        logging.getLogger("segwatch.made").exception("failed")
    (line,) = read_lines(json_lines)
    assert "ValueError" in line["exception"]
    assert "SECRETSECRET" not in json_lines.getvalue()


def test_a_failed_attempt_is_counted_with_what_it_read(engine: Engine) -> None:
    settings = load_settings(linger_seconds=0.0, evidence="none", max_attempts=1)
    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Well().version)
        Drain(engine, _Broken(), settings).run()
    with engine.connect() as conn:
        (row,) = analyst.list_usage(conn)
    assert (row["outcome"], row["attempts"], row["area_km2"]) == ("tiles", 1, 0)
    assert row["bytes_read"] > 0


class _Broken(Well):
    """Fails on images, and works on the empty tile by which the worker tries it."""

    def segment(self, tiles: Any, instructions: Any) -> Any:
        if any(tile.any() for tile in tiles):
            raise ValueError("no")
        return super().segment(tiles, instructions)


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    """A lake that appears in the second of three scenes, and raises an alert; the third one waits."""
    made: Ledger = ledgers()
    made.rule()
    made.arrive([SceneContent(()), SceneContent((LAKE,)), SceneContent((LAKE,))], [0, 1])
    made.find([2])
    return made


def scrape(content: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name, and by the values of their labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(content):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(one.labels.values())] = one.value
    return found


@pytest.fixture
def client(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst"))) as made:
        yield made


def test_the_web_server_serves_what_the_ledger_knows(ledger: Ledger, client: TestClient) -> None:
    (alerts,) = ledger.rows("SELECT count(*) AS alerts FROM segwatch.alert")
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = scrape(answer.text)
    assert found["segwatch_ledger_up"] == {(): 1}
    assert found["segwatch_scenes_pending"] == {("lakes",): 1}
    assert found["segwatch_scene_age_at_alert_seconds_count"] == {("lakes",): alerts["alerts"]}
    assert alerts["alerts"] > 0
    assert found["segwatch_outbox_due"][("lakes",)] > 0
    # made by hand in 2024: older than the oldest class
    assert found["segwatch_scene_age_at_alert_seconds_bucket"][("604800.0", "lakes")] == 0


def test_a_token_of_the_scope_metrics_reads_its_watches_and_nothing_else(
    ledger: Ledger, client: TestClient
) -> None:
    with ledger.engine.begin() as conn:
        mine = tokens.create(conn, "mine", watch_names=("lakes",), scopes=[Scope.METRICS], expires_at=None)
        ledger.also_watch("other", "https://other.example")
        other = tokens.create(conn, "other", watch_names=None, scopes=[Scope.READ], expires_at=None)
    own = {"Authorization": f"Bearer {mine.secret}"}
    found = scrape(client.get("/metrics", headers=own).text)
    assert set(found["segwatch_watch_active"]) == {("lakes",)}
    assert client.get("/api/watches", headers=own).status_code == 403
    assert client.get("/metrics", headers={"Authorization": f"Bearer {other.secret}"}).status_code == 403


def test_a_run_of_a_worker_serves_the_same_on_its_port(engine: Engine, ledger: Ledger) -> None:
    port = find_free_port()
    settings = load_settings(metrics_port=port)
    address = f"http://127.0.0.1:{port}/metrics"
    with (
        register_run(engine, settings, "segment"),
        register_run(engine, settings, "track"),  # its port is taken, and it runs all the same
        urllib.request.urlopen(address, timeout=60) as answer,
    ):
        found = scrape(answer.read().decode())
    assert found["segwatch_scenes_pending"] == {("lakes",): 1}
    assert "process_resident_memory_bytes" in found
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=60)


def test_the_cost_of_a_scrape_does_not_follow_the_detections(ledger: Ledger) -> None:
    for function in ("metrics", "usage", "alert_ages"):
        source = (ROOT / "db" / "sql" / "current" / "watch" / f"{function}.sql").read_text(encoding="utf-8")
        assert not re.search(r"segwatch\.(detection|track|track_state|change)\b", source), function


def test_a_ledger_that_is_away_is_a_metric_not_an_error() -> None:
    page = metrics.render(None, find_next, "")
    assert scrape(page.content.decode())["segwatch_ledger_up"] == {(): 0}


@contextmanager
def collecting() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of traces: its address, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


def test_publication_and_delivery_of_a_message_are_linked(
    ledgers: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Ledger = ledgers()
    made.rule()
    settings = load_settings(delivery_timeout_seconds=1.0)
    with collecting() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracing._find_provider.cache_clear()
        try:
            with register_run(engine, settings, "run", watch="lakes"):
                made.arrive([SceneContent(()), SceneContent((LAKE,))], [0, 1])
                deliver_outbox(engine, settings)
        finally:
            tracing._find_provider.cache_clear()
    spans = [
        span
        for one in received
        for of in one.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]
    links: dict[str, set[str]] = {}
    for span in spans:
        for link in span.links:
            links.setdefault(span.name, set()).update(one.value.string_value for one in link.attributes)
    messages = {str(row["id"]) for row in made.rows("SELECT id FROM segwatch.delivery")}
    assert messages
    assert links["publish observation"] == messages
    assert links["send message"] == messages
    assert len({span.trace_id for span in spans}) == 1, "one trace for a run"


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    tracing._find_provider.cache_clear()
    with tracing.span("nothing", messages=["a"]):
        tracing.annotate(words="x")
    assert tracing._find_provider() is None


def list_expressions(document: Any) -> Iterator[str]:
    """Every PromQL expression of a document of rules or of a dashboard."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "expr" and isinstance(value, str):
                yield value
            else:
                yield from list_expressions(value)
    elif isinstance(document, list):
        for one in document:
            yield from list_expressions(one)


@pytest.mark.parametrize("name", ["alerts.yaml", "dashboard.json"])
def test_rules_and_dashboard_name_only_metrics_that_exist(name: str) -> None:
    known = set()
    for one in (*metrics.LEDGER_METRICS, *metrics.WORKER_METRICS):
        known |= (
            {one.name}
            if one.kind != "histogram"
            else {f"{one.name}_{end}" for end in ("bucket", "sum", "count")}
        )
    found = list(list_expressions(yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))))
    assert len(found) >= 8
    named = {metric for one in found for metric in re.findall(r"\bsegwatch_\w+", one)}
    assert named <= known, named - known


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool comes with Debian's package prometheus"
)
def test_the_alert_rules_fire_when_they_should() -> None:
    promtool = str(shutil.which("promtool"))
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_is_listed_is_served(ledger: Ledger) -> None:
    with ledger.engine.connect() as conn:
        page = metrics.render(metrics.read_state(conn), find_next, "")
    served = set(re.findall(r"^# TYPE (\w+) ", page.content.decode(), re.MULTILINE))
    assert {one.name for one in (*metrics.LEDGER_METRICS, *metrics.WORKER_METRICS)} <= served
