"""Read responses of STAC servers: bodies in bounded memory, JSON in any charset, and the ``Link`` header."""

from __future__ import annotations

from typing import Any

from pystac_client.exceptions import APIError
from requests import Response

from segwatch.geo.bounded import documents
from segwatch.geo.errors import TooComplex
from segwatch.geo.sources.http.hrefs import join_href

#: Larger than any page of items.
_MAX_BYTES = 64 * 1024**2
_CHUNK_BYTES = 64 * 1024


def read_body(response: Response) -> bytes:
    """Read and decompress the body, whatever its headers say about its length.

    Raises
    ------
    APIError
        The body is larger than any page of items.
    """
    content = bytearray()
    with response:
        for chunk in response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MAX_BYTES:
                raise APIError(f"a response of more than {_MAX_BYTES / 1e6:.0f} MB")
    return bytes(content)


def parse_json(content: bytes, charset: str | None) -> Any:
    """Parse a JSON document in Unicode (RFC 8259), else in the charset of the ``Content-Type`` header.

    NaN, Infinity, numbers of any length and deep nesting are accepted here; the items that contain them are rejected
    one by one.

    Raises
    ------
    APIError
        The document has more values than any page of items.
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


def find_next_link(response: Response) -> str | None:
    """Find the next page in the ``Link`` header (RFC 8288)."""
    links = [link for link in response.links.values() if link.get("rel", "").lower() == "next"]
    return join_href(str(response.url), links[0]["url"]) if links and links[0].get("url") else None
