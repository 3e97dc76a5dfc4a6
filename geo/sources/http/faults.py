"""What went wrong with a request or an answer, told by kind and never by content.

Reasons are public: they reach views, the map and messages. What a server sent stays out of them, for it need not be
the server that was meant: the first line of an answer may be the greeting of a mail server or of a database. Addresses
stay out too, because libraries quote them with their query, which may hold a token.
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

#: Part of what httpx says of it.
_CUT_OFF = "without sending complete message body"
_NOT_HTTP = "what it answered is not HTTP, or the connection broke"
_NOT_COMPRESSED = "its answer is not compressed as it says"
_TIMEOUT = "it did not answer in time"
#: The first kind that an error, or one of its causes, belongs to gives the words; special kinds come first.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror, urllib3.NameResolutionError), "the name of its host cannot be resolved"),
    ((ConnectionRefusedError,), "it refuses the connection"),
    ((ssl.SSLCertVerificationError,), "its TLS certificate is not trusted"),
    ((ssl.SSLError,), "TLS cannot be agreed with it"),
    ((TimeoutError, httpx.TimeoutException, requests.Timeout, urllib3.TimeoutError), _TIMEOUT),
    ((urllib3.IncompleteRead, requests.exceptions.ChunkedEncodingError), "its answer is cut off"),
    ((requests.exceptions.ContentDecodingError, urllib3.DecodeError, httpx.DecodingError), _NOT_COMPRESSED),
    ((httpx.RemoteProtocolError, urllib3.ProtocolError, HTTPException), _NOT_HTTP),
    ((ConnectionResetError, BrokenPipeError, httpx.ReadError, httpx.WriteError), "the connection broke"),
    ((httpx.ConnectError, requests.ConnectionError, urllib3.NewConnectionError), "it cannot be reached"),
    ((requests.exceptions.InvalidURL, httpx.InvalidURL), "its address is not valid"),
    ((UnicodeError,), "it is not text in the encoding that it names"),
    ((ParseError,), "it is not well-formed XML"),
    ((RecursionError,), "it is nested too deeply"),
)  # fmt: skip


def describe(error: BaseException) -> str:
    """The kind of failure in words that hold nothing of the answer, the request or the address."""
    found = [one for one in _chain(error) if isinstance(one, json.JSONDecodeError)]
    if found:
        return f"it is not JSON (line {found[0].lineno}, column {found[0].colno})"
    if any(isinstance(one, httpx.RemoteProtocolError) and _CUT_OFF in str(one) for one in _chain(error)):
        return "its answer is cut off"
    for kinds, words in _KINDS:
        if any(isinstance(one, kinds) for one in _chain(error)):
            return words
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes: libraries wrap the one that tells most, as a cause, a context or an argument."""
    waiting, known = [error], set[int]()
    while waiting and len(known) < 20:
        one = waiting.pop(0)
        if id(one) in known:
            continue
        known.add(id(one))
        yield one
        causes = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]
