"""Files for installing: images, Compose, Kubernetes and systemd, each checked by its own tool or run as far as it goes.

No container engine runs here: what is checked is that the files are well formed, agree with one another and with the
command line, keep the rules of the security page, and that their scripts do what they say.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import kubernetes_validate
import psycopg
import pytest
import yaml
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

from segwatch.db.embedded import binaries
from segwatch.db.embedded.os_user import find_server_account
from segwatch.db.migrate import upgrade
from segwatch.flows.services.stack import PREFECT_RETENTION
from tests.support.paths import ROOT, make_home

FOLDER = ROOT / "deployments"
KUBERNETES = FOLDER / "kubernetes"
COMPOSE = FOLDER / "compose"
LATEST = kubernetes_validate.latest_version()


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8")))


def own_manifests() -> Iterator[dict[str, Any]]:
    for name in manifests("kustomization.yaml")[0]["resources"]:
        yield from manifests(name)


def pods() -> Iterator[dict[str, Any]]:
    for one in own_manifests():
        if one["kind"] in {"Job", "Deployment"}:
            yield one["spec"]["template"]["spec"]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


# ---- Prefect's own tables


def test_prefect_prunes_its_own_tables_wherever_it_runs() -> None:
    """Compose, Kubernetes and systemd say what the demo says, and Prefect understands it."""
    unit = (FOLDER / "systemd" / "prefect-server.service").read_text(encoding="utf-8")
    values = manifests("prefect-server.values.yaml")[0]["server"]["env"]
    said = [
        services()["prefect"]["environment"],
        {one["name"]: one["value"] for one in values},
        dict(re.findall(r"Environment=(PREFECT_SERVER_\w+)=(.*)", unit)),
    ]
    assert said == [PREFECT_RETENTION] * 3
    prefix = "PREFECT_SERVER_SERVICES_DB_VACUUM_"
    given = {name.removeprefix(prefix).lower(): value for name, value in PREFECT_RETENTION.items()}
    understood = ServerServicesDBVacuumSettings.model_validate(given)
    assert understood.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert understood.retention_period == timedelta(days=30)


# ---- images


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    lint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [str(lint), str(FOLDER / "images" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_each_image_runs_as_nobody_in_particular_and_is_checked() -> None:
    stages: dict[str, list[str]] = {}
    for line in (FOLDER / "images" / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("FROM "):
            stages[line.split()[-1]] = []
        elif stages:
            stages[list(stages)[-1]].append(line)
    for name in ("web", "worker-cpu", "worker-gpu"):
        assert "USER 10001:10001" in stages[name]
        assert any(line.startswith("HEALTHCHECK ") for line in stages[name])
    sources = [
        word
        for lines in stages.values()
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("--")
    ]
    assert [one for one in sources if not (ROOT / one).exists()] == []
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    assert [one for one in sources if one not in kept and not one.startswith("deployments/")] == []


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ('A=1\n# no\n\nB=x y=$(id) `id` \\ "q"', '1|x y=$(id) `id` \\ "q"|mine'),
        ("C=other\nA=\nB=", "||mine"),
    ],
)
def test_the_entry_point_takes_values_as_they_are(tmp_path: Path, lines: str, shown: str) -> None:
    done = enter(tmp_path, lines, "sh", "-c", 'printf "%s|%s|%s" "$A" "$B" "$C"')
    assert (done.returncode, done.stdout) == (0, shown)


@pytest.mark.parametrize("lines", ["export A=1", "a b", "A B=1", "A;id=1"])
def test_the_entry_point_refuses_other_lines_without_showing_them(tmp_path: Path, lines: str) -> None:
    done = enter(tmp_path, lines, "true")
    assert done.returncode == 64
    assert lines not in done.stderr
    assert str(tmp_path) in done.stderr


def enter(folder: Path, lines: str, *command: str) -> subprocess.CompletedProcess[str]:
    file = folder / "segwatch.env"
    file.write_text(lines)
    return subprocess.run(
        [str(FOLDER / "images" / "entrypoint.sh"), *command],
        env={"PATH": os.environ["PATH"], "SEGWATCH_ENV_FILE": str(file), "C": "mine"},
        capture_output=True,
        text=True,
        check=False,
    )


# ---- Compose


def test_compose_keeps_its_containers_closed() -> None:
    made = services()
    for name, one in made.items():
        assert ":" in one["image"].rsplit("/", 1)[-1], f"{name}: a tag"
        assert set(one.get("depends_on", {})) <= made.keys()
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))
        if name != "database":
            assert one["read_only"] is True, name
            assert one["cap_drop"] == ["ALL"], name
            assert one["security_opt"] == ["no-new-privileges:true"], name
    assert [name for name, one in made.items() if "ports" in one] == ["web"]
    assert made["database"]["networks"] == ["inside"]


def test_the_secrets_of_compose_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    here = tmp_path / "compose"
    shutil.copytree(COMPOSE, here)
    made = read_secrets(here)
    assert {f"secrets/{name}" for name in made} == {
        file for one in services().values() for file in one["env_file"]
    }
    for file in (here / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (
        made["worker.env"]["PREFECT_API_AUTH_STRING"] == made["prefect.env"]["PREFECT_SERVER_API_AUTH_STRING"]
    )
    assert read_secrets(here) == made, "a second start keeps the passwords"


def read_secrets(folder: Path) -> dict[str, dict[str, str]]:
    subprocess.run([str(folder / "make_secrets.sh")], check=True, capture_output=True)
    return {
        file.name: dict(line.split("=", 1) for line in file.read_text().splitlines())
        for file in (folder / "secrets").iterdir()
    }


def test_the_databases_of_compose_take_the_schema_and_keep_the_roles_apart(tmp_path: Path) -> None:
    """On a PostgreSQL of its own, as the first start of the image would do it."""
    here = tmp_path / "compose"
    shutil.copytree(COMPOSE, here)
    passwords = read_secrets(here)["database.env"]
    with run_postgresql() as socket:
        done = subprocess.run(
            [str(here / "create_databases.sh")],
            env=os.environ | passwords | {"PGHOST": str(socket), "PGPORT": "5432"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        upgrade(f"postgresql+psycopg://segwatch_owner@/segwatch?host={socket}")
        assert ask(socket, "segwatch_map", "segwatch", "SELECT count(*) FROM watch.objects_now") == 0
        assert ask(socket, "segwatch_worker", "segwatch", "SELECT count(*) FROM segwatch.watch") == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(socket, "segwatch_map", "segwatch", "SELECT count(*) FROM segwatch.watch")
        for role, database in (
            ("prefect", "segwatch"),
            ("segwatch_worker", "prefect"),
            ("segwatch_map", "prefect"),
        ):
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                ask(socket, role, database, "SELECT 1")


def ask(socket: Path, role: str, database: str, question: LiteralString) -> Any:
    with psycopg.connect(host=str(socket), user=role, dbname=database) as conn:
        row = conn.execute(question).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def run_postgresql() -> Iterator[Path]:
    """A bare server with the superuser ``postgres``, on a socket alone; the folder of the socket is yielded."""
    programs, account = binaries.find_installation(), find_server_account()
    home = make_home("bare")
    account.own_folder(home)
    data = home / "data"
    try:
        made = account.run(
            [programs.path("initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
        )
        assert made.returncode == 0, made.stderr
        options = f"-k {home} -c listen_addresses='' -c fsync=off"
        start = [
            programs.path("pg_ctl"),
            "-D",
            str(data),
            "-l",
            str(home / "log"),
            "-w",
            "-o",
            options,
            "start",
        ]
        assert account.run(start).returncode == 0
        yield home
    finally:
        account.run([programs.path("pg_ctl"), "-D", str(data), "-m", "immediate", "stop"])
        shutil.rmtree(home, ignore_errors=True)


# ---- Kubernetes


def test_every_manifest_is_valid_and_complete() -> None:
    known = [one for one in own_manifests() if not one["apiVersion"].startswith("postgresql.cnpg.io/")]
    for one in [*known, *manifests("secrets.example.yaml")]:
        kubernetes_validate.validate(one, LATEST, strict=True)
    assert {one["kind"] for one in own_manifests()} >= {
        "Cluster",
        "ScheduledBackup",
        "NetworkPolicy",
        "Deployment",
    }


def test_every_pod_keeps_to_the_restricted_rules() -> None:
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_every_secret_that_is_named_has_an_example() -> None:
    examples = {one["metadata"]["name"]: one for one in manifests("secrets.example.yaml")}
    named = {
        source["secretRef"]["name"]
        for pod in pods()
        for one in pod["containers"]
        for source in one["envFrom"]
    }
    cluster = next(one for one in own_manifests() if one["kind"] == "Cluster")["spec"]
    named |= {role["passwordSecret"]["name"] for role in cluster["managed"]["roles"] if role["login"]}
    named |= {cluster["bootstrap"]["initdb"]["secret"]["name"]}
    values = [manifests(file.name)[0] for file in KUBERNETES.glob("*.values.yaml")]
    named |= {one["server"]["basicAuth"]["existingSecret"] for one in values if "server" in one}
    named |= {one["secret"]["name"] for one in values if "secret" in one}
    assert named <= examples.keys()
    pools = [(FOLDER / "work_pools" / "kubernetes" / f"{name}.json").read_text() for name in ("cpu", "gpu")]
    assert [
        name for name, text in zip(("cpu", "gpu"), pools, strict=True) if f"segwatch-worker-{name}" in text
    ]


# ---- systemd and the command line


def test_what_units_containers_and_manifests_run_exists() -> None:
    lines = [shlex.split(value) for value in _list_unit_commands()]
    lines += [
        one["command"] for one in services().values() if "command" in one and one["command"][0] != "postgres"
    ]
    lines += [one["args"] for pod in pods() for one in pod["containers"] if "args" in one]
    asked = {(Path(line[0]).name, *(_words(line[1:]))) for line in lines}
    assert len(asked) >= 5
    for program, *words in asked:
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *words, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (program, words, done.stderr)
        options = {
            word for line in lines for word in line if Path(line[0]).name == program and word[:2] == "--"
        }
        options &= {word for line in lines if _words(line[1:]) == words for word in line}
        assert [one for one in options if one not in done.stdout] == [], (program, words)


def _list_unit_commands() -> Iterator[str]:
    for file in (FOLDER / "systemd").glob("*.service"):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.read(file)
        assert unit["Service"]["restart"] == "always"
        assert unit["Service"]["nonewprivileges"] == "yes"
        yield unit["Service"]["execstart"]


def _words(arguments: list[str]) -> list[str]:
    """The command's own words, up to its first option."""
    return [word for word in arguments if word[:2] != "--"][
        : next((i for i, w in enumerate(arguments) if w[:2] == "--"), len(arguments))
    ]
