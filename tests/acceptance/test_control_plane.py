"""Who may decide what the workers run: the doors of the embedded services, as they are while all of them run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from segwatch.db.embedded import logins
from segwatch.flows.services import accounts
from segwatch.flows.services.inherited import select_for_server
from segwatch.flows.services.secrets import read_prefect_secret, read_webhook_secret
from tests.acceptance.conftest import COLOUR, System

SERVERS = ("web", "prefect", "stac", "imagery", "receiver")
WORKERS = ("worker-cpu", "worker-gpu")
PLANTED = {
    "SEGWATCH_SERVICES": '{"duty": "json://planted-services@example.org"}',
    "SEGWATCH_CREDENTIALS": '{"hls-s30": {"token": "planted-credentials"}}',
    "SEGWATCH_REVIEW_TOKEN": "planted-review-token",
    "PGPASSWORD": "planted-password",
}


@pytest.fixture(scope="module")
def environments(system: System) -> dict[str, dict[str, str]]:
    """Of each process of a service, also those that it started; with secrets in the shell that started the workers."""
    system.work(COLOUR | PLANTED)
    found: dict[str, dict[str, str]] = {}
    for service in system.stack.supervisor.running():
        for pid in _group(service.pid):
            text = Path(f"/proc/{pid}/environ").read_text()
            pairs = (one.partition("=") for one in text.split("\0") if one)
            found.setdefault(service.name, {}).update({name: value for name, _, value in pairs})
    assert set(found) == {*SERVERS, *WORKERS}
    return found


def _group(leader: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == leader:
                yield int(folder.name)
        except ProcessLookupError:
            continue


def test_each_process_has_the_secrets_that_it_needs(
    system: System, environments: dict[str, dict[str, str]]
) -> None:
    home, info = system.stack.home, system.stack.cluster.info()
    secrets = {
        "webhook": read_webhook_secret(home),
        "prefect": read_prefect_secret(home),
        **info.passwords,
        "services": "planted-services",
        "credentials": "planted-credentials",
        "review": "planted-review-token",
        "libpq": "planted-password",
    }
    held = {
        service: {
            name for name, secret in secrets.items() if any(secret in value for value in given.values())
        }
        for service, given in environments.items()
    }
    assert held == {
        "web": {"segwatch_analyst"},
        "prefect": {logins.PREFECT, "prefect"},
        "stac": {logins.STAC},
        "imagery": set(),
        "receiver": {"webhook"},
        "worker-cpu": {"segwatch_worker", "prefect", "webhook", "services", "credentials"},
        "worker-gpu": {"segwatch_worker", "prefect", "credentials"},
    }


def test_no_secret_is_an_argument_or_in_a_log_or_in_a_file_of_others(system: System) -> None:
    home, info = system.stack.home, system.stack.cluster.info()
    secrets = [
        read_webhook_secret(home),
        read_prefect_secret(home).partition(":")[2],
        *info.passwords.values(),
    ]
    arguments = " ".join(_arguments())
    assert "worker start" in arguments
    assert not [one for one in secrets if one in arguments]
    logs = [*(home / "logs").glob("*.log"), info.data_dir.parent / "server.log"]
    assert len(logs) > len(SERVERS)
    for log in logs:
        said = log.read_text(errors="replace")
        assert not [one for one in secrets if one in said], log
    # folders through which others pass show them nothing
    done = subprocess.run(
        ["find", str(home), "-type", "d", "!", "-perm", "/o=x", "-prune", "-o", "-type", "f", "-perm", "/o=rw", "-print"],  # noqa: E501
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""


def _arguments() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def test_each_service_has_a_user_of_its_own_where_root_can_give_one(system: System) -> None:
    users = {one.name: Path(f"/proc/{one.pid}").stat().st_uid for one in system.stack.supervisor.running()}
    who = accounts.make_account(system.stack.home, "web")
    if who is None:
        assert set(users.values()) == {os.geteuid()}
    elif (why := accounts.find_obstacle(who, select_for_server(os.environ))) is None:
        assert len(set(users.values())) == len(SERVERS + WORKERS)
        assert 0 not in users.values()
    else:
        assert set(users.values()) == {0}
        told = system.segwatch("doctor", "--json").stdout
        says = [one["says"] for one in json.loads(told)["findings"] if one["about"] == "access"]
        assert len([one for one in says if "runs as root" in one]) == len(WORKERS), (why, says)


@pytest.mark.parametrize("service", SERVERS)
def test_a_name_that_a_stranger_lets_point_here_gets_no_answer(system: System, service: str) -> None:
    url = getattr(system.stack.urls(), service)
    port = url.rpartition(":")[2]
    # the map's health is for monitors, which may know it by any address
    for path in ("/", *(() if service == "web" else ("/healthz",)), "/api/health", "/ogc/"):
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example"):
            assert httpx.get(f"{url}{path}", headers={"Host": host}, timeout=120).status_code == 400
    for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
        assert httpx.get(f"{url}/", headers={"Host": host}, timeout=120).status_code != 400


def test_pages_of_other_sites_may_not_ask(system: System) -> None:
    urls = system.stack.urls()
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for service in SERVERS:
        for path in ("/", "/api/deployments/filter", "/api/flow_runs/", "/ogc/collections", "/search"):
            url = f"{getattr(urls, service)}{path}"
            for answer in (
                httpx.options(url, headers=asked, timeout=120),
                httpx.get(url, headers=asked, timeout=120),
            ):
                allowed = answer.headers.get("access-control-allow-origin")
                assert allowed not in {"*", "https://evil.example"}, url


def test_who_has_no_credentials_learns_and_does_nothing(system: System) -> None:
    api = f"{system.stack.urls().prefect}/api"
    user, _, password = read_prefect_secret(system.stack.home).partition(":")
    found = httpx.post(f"{api}/deployments/filter", json={}, auth=(user, password), timeout=120).json()
    (deployment,) = [one["id"] for one in found if one["name"] == "segment"]
    attack = {"job_variables": {"command": "touch /tmp/never"}}
    for auth in (None, (user, ""), (user, "wrong"), ("", password)):
        for path, body in (
            (f"/deployments/{deployment}/create_flow_run", attack),
            ("/flow_runs/", {"flow_id": deployment, **attack}),
            ("/deployments/filter", {}),
            ("/work_pools/cpu/get_scheduled_flow_runs", {}),
            ("/events", []),
        ):
            assert httpx.post(f"{api}{path}", json=body, auth=auth, timeout=120).status_code == 401
    refused = httpx.post(
        f"{api}/deployments/{deployment}/create_flow_run", json=attack, auth=(user, password), timeout=120
    )
    assert refused.status_code in {409, 422}


def test_the_doctor_finds_nothing_wrong_with_it(system: System) -> None:
    findings = json.loads(system.segwatch("doctor", "--json").stdout)["findings"]
    assert [one for one in findings if one["about"] == "access" and one["level"] == "wrong"] == []
    assert not any("credentials" in one["says"] or "DNS" in one["says"] for one in findings)
