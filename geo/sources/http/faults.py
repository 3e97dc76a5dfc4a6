"""Describe a failed request by its kind, without quoting the response or the URL.

Reasons are public: they appear in views, on the map and in messages. A response may come from an unintended internal
service, such as the greeting of a mail server or database, and URLs may contain tokens, so neither is quoted.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from xml.etree.ElementTree import ParseError

import httpx
import requests
from urllib3 import exceptions as urllib3

#: Part of httpx's message for a truncated body.
_TRUNCATED_BODY = "without sending complete message body"
_NOT_HTTP = "its response is not HTTP, or the connection broke"
_NOT_COMPRESSED = "its response is not compressed as declared"
_TIMEOUT = "it did not respond in time"
#: The first kind that matches an error or one of its causes gives the description; specific kinds come first.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror, urllib3.NameResolutionError), "its host name cannot be resolved"),
    ((ConnectionRefusedError,), "it refuses the connection"),
    ((ssl.SSLCertVerificationError,), "its TLS certificate is not trusted"),
    ((ssl.SSLError,), "the TLS handshake with it failed"),
    ((TimeoutError, httpx.TimeoutException, requests.Timeout, urllib3.TimeoutError), _TIMEOUT),
    ((urllib3.IncompleteRead, requests.exceptions.ChunkedEncodingError), "its response is truncated"),
    ((requests.exceptions.ContentDecodingError, urllib3.DecodeError, httpx.DecodingError), _NOT_COMPRESSED),
    ((httpx.RemoteProtocolError, urllib3.ProtocolError, HTTPException), _NOT_HTTP),
    ((ConnectionResetError, BrokenPipeError, httpx.ReadError, httpx.WriteError), "the connection broke"),
    ((httpx.ConnectError, requests.ConnectionError, urllib3.NewConnectionError), "it cannot be reached"),
    ((requests.exceptions.InvalidURL, httpx.InvalidURL), "its URL is invalid"),
    ((UnicodeError,), "it is not text in its declared encoding"),
    ((ParseError,), "it is not well-formed XML"),
    ((RecursionError,), "it is nested too deeply"),
)  # fmt: skip


def describe(error: BaseException) -> str:
    """Describe the kind of a failure, without quoting the response, the request or the URL."""
    found = [one for one in _chain(error) if isinstance(one, json.JSONDecodeError)]
    if found:
        return f"it is not JSON (line {found[0].lineno}, column {found[0].colno})"
    if any(
        isinstance(one, httpx.RemoteProtocolError) and _TRUNCATED_BODY in str(one) for one in _chain(error)
    ):
        return "its response is truncated"
    for kinds, words in _KINDS:
        if any(isinstance(one, kinds) for one in _chain(error)):
            return words
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes; libraries wrap them as cause, context, ``reason`` or argument."""
    waiting, known = [error], set[int]()
    while waiting and len(known) < 20:
        one = waiting.pop(0)
        if id(one) in known:
            continue
        known.add(id(one))
        yield one
        causes = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]
