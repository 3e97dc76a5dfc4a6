"""Answers of STAC servers: bodies in bounded memory, JSON in any charset, and what the ``Link`` header says."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

from pystac_client.exceptions import APIError
from requests import Response

from segwatch.geo.bounded import documents
from segwatch.geo.errors import TooComplex

#: Larger answers than any page of items.
_LARGEST_BYTES = 64 * 1024**2
_CHUNK_BYTES = 64 * 1024


def read_body(response: Response) -> bytes:
    """What was sent, decompressed; what its head says of its length may be wrong, or missing.

    Raises
    ------
    APIError
        It is larger than any page of items.
    """
    content = bytearray()
    with response:
        for chunk in response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > _LARGEST_BYTES:
                raise APIError(f"an answer of more than {_LARGEST_BYTES / 1e6:.0f} MB")
    return bytes(content)


def parse_json(content: bytes, charset: str | None) -> Any:
    """A JSON document: in Unicode as the standard has it, else in the charset that its head names.

    Also with NaN and Infinity, which some catalogs write, with numbers of any length and lists of any depth: what has
    them is refused by itself.

    Raises
    ------
    APIError
        It has more values than any page of items.
    """
    try:
        return documents.parse_json(content)
    except UnicodeDecodeError:
        return documents.parse_json(_decode(content, charset or "latin-1"))
    except TooComplex as error:
        raise APIError(str(error)) from error


def _decode(content: bytes, charset: str) -> str:
    try:
        return content.decode(charset)
    except LookupError:
        return content.decode("latin-1")


def link_to_next(response: Response) -> str | None:
    """The next page as the ``Link`` header has it."""
    links = [link for link in response.links.values() if link.get("rel", "").lower() == "next"]
    return urljoin(str(response.url), links[0]["url"]) if links and links[0].get("url") else None
