"""An embedded PostgreSQL + PostGIS cluster: one home folder, one server, loopback only.

TCP connections need a password (SCRAM), kept in a file that only this user can read. The Unix socket uses peer
authentication and lies in a folder that only the server's account can enter.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg

from segwatch.db import roles
from segwatch.db.embedded import binaries, logins, server_conf
from segwatch.db.embedded.os_user import ServerAccount, find_server_account
from segwatch.db.embedded.ports import choose_port, is_free
from segwatch.db.errors import (
    ClusterDown,
    ClusterError,
    DataUnusable,
    DiskFull,
    PortTaken,
    PostgisMissing,
    StartFailed,
)
from segwatch.db.postgis_rights import revoke_statistics

_log = logging.getLogger(__name__)

SUPERUSER = logins.SUPERUSER
_DATABASE = logins.LEDGER
_PORT_TRIES = 5
_FALLBACK = Path("/var/lib/segwatch")
_START_SECONDS = 60
_EXTENSIONS: tuple[LiteralString, ...] = (
    "CREATE EXTENSION IF NOT EXISTS postgis",
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
)


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """Connection details of a running cluster."""

    port: int
    socket_dir: Path
    data_dir: Path
    passwords: dict[str, str] = field(repr=False)
    """Password by role; never shown."""

    def url_for(self, role: str, database: str = _DATABASE) -> str:
        """Build the SQLAlchemy URL (``postgresql+psycopg://``) of a role, over TCP on 127.0.0.1.

        Raises
        ------
        ClusterError
            The cluster has no such role.
        """
        return self._url("postgresql+psycopg", role, database)

    def service_url(self, database: str) -> str:
        """Build the ``postgresql://`` URL of the service that owns this database."""
        return self._url("postgresql", logins.SERVICES[database], database)

    def superuser_url(self, database: str = _DATABASE) -> str:
        """Build the ``postgresql://`` URL of the superuser, for setting up databases only."""
        return self._url("postgresql", SUPERUSER, database)

    def _url(self, scheme: str, role: str, database: str) -> str:
        if role not in self.passwords:
            raise ClusterError(
                f"the cluster has no role {role!r}; it has {', '.join(sorted(self.passwords))}"
            )
        password = quote(self.passwords[role], safe="")
        return f"{scheme}://{role}:{password}@127.0.0.1:{self.port}/{quote(database, safe='')}"


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """State of a cluster."""

    running: bool
    data_dir: str
    port: int | None
    socket_dir: str
    pid: int | None
    log: str


class Cluster:
    """The cluster of one home folder.

    Parameters
    ----------
    home
        Folder of the state; its ``postgres`` subfolder holds the data. If the server's account cannot
        enter it (root's own folders), the data lies in ``/var/lib/segwatch/<hash of the home>``.
    port
        Port to listen on; None = a free port, which is remembered and changed only if it is taken later.
    durable
        False turns fsync off, for tests whose data may be lost.
    """

    def __init__(self, home: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.home = home.absolute()
        self._port = port
        self._durable = durable
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        self._fallback = _FALLBACK / digest
        # not under the home, as the kernel limits socket paths to about 100 bytes
        self.socket_dir = Path(f"/tmp/segwatch-{os.geteuid()}-{digest}")  # noqa: S108 - owner is checked
        self._state_file = self.home / "postgres.json"
        self._password_file = self.home / "postgres.passwords"

    def up(self) -> ClusterInfo:
        """Create, start and set up the cluster, each if necessary.

        Raises
        ------
        ClusterError
            The subclass names the cause, the message what to do.
        """
        self._make_home()
        with self._exclusive():
            if not self._running():
                self._start()
            info = self._info()
            self._set_up(info)
            return info

    def down(self) -> bool:
        """Stop the server and wait for it, keeping the data; False if it was not running."""
        if not self.home.is_dir():
            return False
        with self._exclusive():
            pid = self._running()
            if not pid:
                return False
            programs, account = self._programs(), find_server_account()
            argv = [programs.path("pg_ctl"), "-D", str(self._data), "-m", "fast", "-w", "-t", "60", "stop"]
            done = account.run(argv)
            if done.returncode:
                raise ClusterError(f"the server (pid {pid}) did not stop: {done.stderr.strip()}")
            with suppress(OSError):  # not empty, or removed by somebody else
                self.socket_dir.rmdir()
            return True

    def status(self) -> ClusterStatus:
        """Read the state without starting anything."""
        pid = self._running()
        data = self._data
        return ClusterStatus(
            running=pid is not None,
            data_dir=str(data),
            port=self._state().get("port"),
            socket_dir=str(self.socket_dir),
            pid=pid,
            log=str(data.parent / "server.log"),
        )

    def info(self) -> ClusterInfo:
        """Return the connection details of the running cluster.

        Raises
        ------
        ClusterDown
            The cluster is not running.
        """
        if not self._running():
            raise ClusterDown(f"the database of {self.home} is not running; start it with: segwatch db up")
        return self._info()

    def psql_argv(self, database: str = _DATABASE) -> list[str]:
        """Build the command that opens psql as the analyst over the socket."""
        info = self.info()
        where = ["-h", str(info.socket_dir), "-p", str(info.port)]
        return [self._programs().path("psql"), *where, "-U", roles.ANALYST, "-d", database]

    def ensure_database(self, name: str, owner: str) -> None:
        """Create a database unless it exists."""
        with closing(self._connect("postgres")) as conn:
            logins.ensure_database(conn, name, owner)

    def ensure_service_database(self, name: str, *, owner: str | None = None) -> None:
        """Create the database of a service if necessary; only the service's role and ``owner`` may connect to it.

        Parameters
        ----------
        name
            One of ``logins.SERVICES``.
        owner
            Owner of the database, also of an existing one; None = the service's own role.
        """
        role = logins.SERVICES[name]
        with closing(self._connect("postgres")) as conn:
            logins.ensure_database(conn, name, owner or role)
            logins.restrict_connections(conn, name, role)
        with closing(self._connect(name)) as conn:
            logins.ensure_owner(conn, owner or role)

    def destroy(self) -> None:
        """Stop the server and delete its data."""
        self.down()
        for folder in {self._data.parent, self._fallback}:
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self._state_file, self._password_file):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    # -- state ------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return Path(self._state().get("data_dir", self.home / "postgres" / "data"))

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            state = None
        except OSError as error:
            raise DataUnusable(f"{self._state_file} cannot be read: {error}") from error
        except ValueError:
            state = None
        # if the file is missing or broken, as after a full disk, its content is found on disk
        return state if isinstance(state, dict) else self._found()

    def _found(self) -> dict[str, Any]:
        folders = (self.home / "postgres" / "data", self._fallback / "data")
        data = next((one for one in folders if (one / "PG_VERSION").exists()), None)
        if data is None:
            return {}
        port = server_conf.read_port(data / "segwatch.conf")
        return {"data_dir": str(data)} | ({} if port is None else {"port": port})

    def _remember(self, **values: Any) -> None:
        new = self._state_file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(self._state() | values, sort_keys=True))
        new.replace(self._state_file)

    def _make_home(self) -> None:
        try:
            # if this is root, the server's account must be able to pass through it
            self.home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataUnusable(
                f"cannot make {self.home}: {error}; set SEGWATCH_HOME to another folder"
            ) from error

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock the home: one process at a time starts or stops the server."""
        # only for this user, as whoever can open the file can hold the lock
        descriptor = os.open(self.home / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _passwords(self) -> dict[str, str]:
        wanted = logins.ALL
        known: dict[str, str] = {}
        if self._password_file.exists():
            known = json.loads(self._password_file.read_text())
        if set(wanted) - set(known):
            known |= {role: secrets.token_urlsafe(24) for role in wanted if role not in known}
            new = self._password_file.with_suffix(".new")
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(known, file)
            new.replace(self._password_file)
        return known

    def _info(self) -> ClusterInfo:
        return ClusterInfo(self._state()["port"], self.socket_dir, self._data, self._passwords())

    def _programs(self) -> binaries.Binaries:
        version = self._data / "PG_VERSION"
        return binaries.find_installation(version.read_text().strip() if version.exists() else None)

    def _running(self) -> int | None:
        """Return the process id of our server if it is alive; a stale pid file does not count."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
            command = Path(f"/proc/{pid}/cmdline")
            # the process id may belong to another program by now
            if (
                command.parent.parent.joinpath("self").exists()
                and str(self._data).encode() not in command.read_bytes()
            ):
                return None
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        except PermissionError as error:
            raise DataUnusable(
                f"{self._data} belongs to another user; run as that user or set SEGWATCH_HOME"
            ) from error
        return pid

    # -- create and start ----------------------------------------------------------------------------

    def _start(self) -> None:
        account = find_server_account()
        if "data_dir" not in self._state():
            self._remember(data_dir=str(self._choose_folder(account) / "data"))
        programs = self._programs()
        self._clear_stale()
        if not (self._data / "PG_VERSION").exists():
            self._initdb(programs, account)
        self._make_socket_dir(account)
        lost: set[int] = set()
        while True:
            port = self._choose_port(lost)
            self._configure(account, port)
            try:
                self._launch(programs, account)
            except PortTaken:
                # another server took the port after it was chosen
                lost.add(port)
                if self._port is not None or len(lost) == _PORT_TRIES:
                    raise
                continue
            return

    def _choose_folder(self, account: ServerAccount) -> Path:
        """Choose the folder of the data: under the home if the server's account can enter it."""
        wanted = self.home / "postgres"
        try:
            account.own_folder(wanted)
            if account.can_use(wanted):
                return wanted
            wanted.rmdir()
            account.own_folder(self._fallback)
            self._fallback.parent.chmod(0o755)
            if account.can_use(self._fallback):
                _log.warning(
                    "user %s cannot enter %s; data goes to %s", account.name, self.home, self._fallback
                )
                return self._fallback
        except OSError as error:
            raise DataUnusable(f"cannot make a folder for the data: {error}; set SEGWATCH_HOME") from error
        raise DataUnusable(
            f"user {account.name} can use neither {wanted} nor {self._fallback}; set SEGWATCH_HOME to a folder "
            "it can enter"
        )

    def _clear_stale(self) -> None:
        """Remove files that a killed server left; called only while no server of ours is alive."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        if self.socket_dir.is_dir() and not self.socket_dir.is_symlink():
            for left in self.socket_dir.glob(".s.PGSQL.*"):
                left.unlink(missing_ok=True)

    def _initdb(self, programs: binaries.Binaries, account: ServerAccount) -> None:
        account.own_folder(self._data.parent)
        unfinished = self._data.with_name(
            "data.new"
        )  # renamed when complete, so that a kill leaves no incomplete cluster
        shutil.rmtree(unfinished, ignore_errors=True)
        argv = [programs.path("initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--auth=scram-sha-256"]
        argv += ["--auth-local=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        argv += [] if self._durable else ["--no-sync"]
        # initdb needs a password for SCRAM; _set_up gives every role its own
        done = account.run([*argv, "--auth-host=reject"])
        if done.returncode:
            raise _explain(done.stderr, self._data, f"initdb failed: {done.stderr.strip()}")
        unfinished.rename(self._data)

    def _make_socket_dir(self, account: ServerAccount) -> None:
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        found = self.socket_dir.lstat()
        if self.socket_dir.is_symlink() or found.st_uid not in {account.uid, os.geteuid()}:
            raise DataUnusable(
                f"{self.socket_dir} belongs to user id {found.st_uid}; ask them to give up the name, or set "
                "SEGWATCH_HOME to another folder"
            )
        account.own_folder(self.socket_dir)

    def _choose_port(self, lost: Collection[int]) -> int:
        if self._port is not None:
            if not is_free(self._port):
                raise PortTaken(
                    f"port {self._port} on 127.0.0.1 is taken; stop what listens there or choose another"
                )
            port = self._port
        else:
            remembered = self._state().get("port")
            port = choose_port(self.home, "postgres", remembered=remembered, lost=lost)
        self._remember(port=port)
        return port

    def _configure(self, account: ServerAccount, port: int) -> None:
        text = server_conf.render_conf(port, self.socket_dir, durable=self._durable)
        try:
            self._write(account, "segwatch.conf", text)
            self._write(account, "pg_hba.conf", logins.render_pg_hba())
            self._write(account, "pg_ident.conf", logins.render_pg_ident())
            main = self._data / "postgresql.conf"
            include = "include_if_exists = 'segwatch.conf'"
            present = main.read_text()
            if include not in present:
                self._write(account, "postgresql.conf", f"{present}\n{include}\n")
        except OSError as error:
            raise _explain(
                str(error), self._data, f"cannot write the server's configuration: {error}"
            ) from error

    def _write(self, account: ServerAccount, name: str, text: str) -> None:
        file = self._data / name
        new = file.with_suffix(".new")
        new.write_text(text)
        if account.switch:
            os.chown(new, account.uid, account.gid)
        new.chmod(0o600)
        new.replace(file)

    def _launch(self, programs: binaries.Binaries, account: ServerAccount) -> None:
        log = self._data.parent / "server.log"
        before = log.stat().st_size if log.exists() else 0
        argv = [programs.path("pg_ctl"), "-D", str(self._data), "-l", str(log)]
        done = account.run([*argv, "-w", "-t", str(_START_SECONDS), "start"], timeout=_START_SECONDS + 30)
        if done.returncode == 0:
            return
        output = ""
        if log.exists():
            with log.open("rb") as file:
                file.seek(before)
                output = file.read().decode(errors="replace")
        tail = "\n".join((output or done.stderr).strip().splitlines()[-8:])
        raise _explain(output + done.stderr, self._data, f"the server did not start ({log}):\n{tail}")

    # -- set up -------------------------------------------------------------------------------------

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        """Connect as superuser over the socket."""
        port = self._state().get("port")
        try:
            return psycopg.connect(
                host=str(self.socket_dir),
                port=port,
                user=SUPERUSER,
                dbname=database,
                autocommit=True,
                connect_timeout=10,
            )
        except psycopg.OperationalError as error:
            raise ClusterDown(
                f"cannot connect to the database of {self.home}: {error}; start it with: segwatch db up"
            ) from error

    def _set_up(self, info: ClusterInfo) -> None:
        with closing(self._connect("postgres")) as conn:
            for role, password in info.passwords.items():
                logins.ensure_login(conn, role, password)
            logins.ensure_database(conn, _DATABASE, roles.OWNER)
            logins.restrict_connections(conn, _DATABASE, *roles.ALL)
        with closing(self._connect(_DATABASE)) as conn:
            try:
                for statement in _EXTENSIONS:
                    conn.execute(statement)
                revoke_statistics(conn)
            except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as error:
                raise PostgisMissing(
                    f"PostGIS cannot be loaded: {error}; install it with: apt-get install postgresql-15-postgis-3"
                ) from error
            except psycopg.errors.DiskFull as error:
                raise _explain("No space left on device", self._data, str(error)) from error


def _explain(output: str, data: Path, message: str) -> ClusterError:
    """Translate the output of the server into an error."""
    if re.search("No space left on device|Disk quota exceeded", output):
        return DiskFull(f"no space left on the disk of {data}; free some and try again. {message}")
    if re.search("Address already in use|Is another postmaster already running on port", output):
        return PortTaken(f"the server's port is taken. {message}")
    if re.search("Permission denied|has wrong ownership|has invalid permissions", output):
        return DataUnusable(f"the server may not use {data}. {message}")
    return StartFailed(message)
