"""Translate errors of requests to a catalog into :class:`segwatch.geo.errors.CatalogUnreachable`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from pystac_client.exceptions import APIError

from segwatch.geo.errors import AddressRefused, CatalogUnreachable, UnsafeHref
from segwatch.geo.items import MALFORMED
from segwatch.geo.sources.http import faults, hrefs
from segwatch.geo.sources.search.paging import InvalidPage

#: Client error statuses that do not concern the requested URL.
_SERVER_STATUSES = frozenset({401, 408, 425, 429})
_MAX_REASON_CHARS = 300


class NotACatalog(TypeError):
    """The document at a URL is not part of a catalog; the message quotes nothing of it."""


@contextmanager
def translate_errors(url: str, *, is_file: bool = False) -> Iterator[None]:
    """Raise :class:`CatalogUnreachable` for any failed request or malformed response; :class:`InvalidPage` passes.

    ``is_file``: the URL is that of a file of a static catalog.
    """
    try:
        yield
    except UnsafeHref as error:
        raise CatalogUnreachable(hrefs.redact_href(url), f"{error.reason}: {error.href}") from error
    except APIError as error:
        status = get_status(error)
        raise CatalogUnreachable(
            hrefs.redact_href(url), f"HTTP {status}" if status else _summarize(error)
        ) from error
    except InvalidPage:
        raise
    except MALFORMED as error:
        detail = _summarize(error) if isinstance(error, NotACatalog) else faults.describe(error)
        wrong = "the file cannot be read as STAC" if is_file else "it does not respond as a STAC API"
        raise CatalogUnreachable(hrefs.redact_href(url), f"{wrong} ({detail})") from error


def get_status(error: APIError) -> int | None:
    """Get the HTTP status of a failed request; None where there was no response."""
    status: int | None = getattr(error, "status_code", None)
    return status


def is_outage(cause: BaseException | None) -> bool:
    """Whether a request failed for a reason that does not concern the requested URL: no response, or a server error."""
    if isinstance(cause, AddressRefused):
        return True
    if not isinstance(cause, APIError):
        return False
    status = get_status(cause)
    return status is None or status in _SERVER_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _summarize(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:_MAX_REASON_CHARS] or type(error).__name__
