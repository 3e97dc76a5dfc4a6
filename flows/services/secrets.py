"""Secrets of a home folder: made once, each in a file that only this user can read."""

from __future__ import annotations

import os
import secrets
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

WEBHOOK = "webhook.secret"
PREFECT = "prefect.secret"


def webhook_secret(home: Path) -> str:
    """The Standard Webhooks secret that the home's messages are signed with."""
    return _kept(home / WEBHOOK, lambda: "whsec_" + b64encode(secrets.token_bytes(24)).decode())


def prefect_secret(home: Path) -> str:
    """``user:password`` of the home's Prefect server.

    It is also the server's identity: a worker of another home, or of one that was deleted, that asks at this server's
    port for work is refused.
    """
    return _kept(home / PREFECT, lambda: f"segwatch:{secrets.token_urlsafe(24)}")


def _kept(file: Path, make: Callable[[], str]) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as writing:
            writing.write(make())
        try:
            os.link(new, file)  # unlike a rename, this leaves what another process made meanwhile
        except FileExistsError:
            pass
        finally:
            new.unlink()
    return file.read_text(encoding="utf-8").strip()
