"""Secrets of a home folder: generated once, each in a file that only this user can read."""

from __future__ import annotations

import os
import secrets
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

WEBHOOK = "webhook.secret"
PREFECT = "prefect.secret"


def read_webhook_secret(home: Path) -> str:
    """Read, or generate, the Standard Webhooks secret that the home's messages are signed with."""
    return _read_or_generate(home / WEBHOOK, lambda: "whsec_" + b64encode(secrets.token_bytes(24)).decode())


def read_prefect_secret(home: Path) -> str:
    """Read, or generate, ``user:password`` of the home's Prefect server.

    It also identifies the server: a worker of another home that polls this server's port is refused.
    """
    return _read_or_generate(home / PREFECT, lambda: f"segwatch:{secrets.token_urlsafe(24)}")


def _read_or_generate(file: Path, make: Callable[[], str]) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as writing:
            writing.write(make())
        try:
            os.link(new, file)  # unlike a rename, this keeps what another process generated meanwhile
        except FileExistsError:
            pass
        finally:
            new.unlink()
    return file.read_text(encoding="utf-8").strip()
