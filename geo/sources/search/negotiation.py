"""Find the form of a search request that a catalog accepts, and follow its pages."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from http import HTTPStatus

from pystac_client.exceptions import APIError

from segwatch.geo.errors import CatalogUnreachable, SearchIncomplete
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.search.catalog import Catalog, check_collection
from segwatch.geo.sources.search.catalog_errors import get_status, translate_errors
from segwatch.geo.sources.search.paging import (
    EndlessPaging,
    InvalidPage,
    Pager,
    StacResponse,
    follow_pages,
    get_features,
)
from segwatch.geo.sources.search.requests import HttpRequest, SearchQuery, build_request, list_fallbacks
from segwatch.geo.sources.search.stac_client import StacHttpError

_log = logging.getLogger(__name__)

#: Request forms that are tried before a refusal is final.
_MAX_FORMS = 12
#: Refusals that may be caused by a missing collection.
_COLLECTION_STATUSES = frozenset({400, 404, 422})


def search_pages(catalog: Catalog, query: SearchQuery, *, limit: int | None = None) -> Pager:
    """Yield the features of all pages of one search.

    Parameters
    ----------
    limit
        Page size; None = the one that the catalog accepted last.

    Raises
    ------
    CatalogUnreachable
        The catalog does not respond, or refuses every form of the request.
    SearchIncomplete
        The paging does not end.
    """
    url = catalog.url

    def send(request: HttpRequest) -> StacResponse:
        with translate_errors(url):
            return catalog.client.send(request)

    try:
        with translate_errors(url):
            request, response = _send_first_request(catalog, query, limit)
        return (yield from follow_pages(request, send, response))
    except InvalidPage as error:
        raise CatalogUnreachable(hrefs.redact_href(url), str(error)) from error
    except EndlessPaging as error:
        raise SearchIncomplete(hrefs.redact_href(url), str(error)) from error


def _send_first_request(
    catalog: Catalog, query: SearchQuery, limit: int | None
) -> tuple[HttpRequest, StacResponse]:
    """Request the first page in the last accepted form or a fallback; remember the form that works."""
    state, endpoints = catalog.state, catalog.endpoints
    forms = deque([replace(state.form, limit=limit or state.form.limit)])
    tried: set[str] = set()
    refusals: list[Exception] = []
    while forms and len(tried) < _MAX_FORMS:
        form = forms.popleft()
        request = build_request(query, form, endpoints)
        if request.fingerprint in tried:
            continue
        tried.add(request.fingerprint)
        try:
            response = catalog.client.send(request)
            get_features(response.document)
        except APIError as error:
            refusals.append(error)
            status = get_status(error)
            if status is None:
                break
            text = error.text if isinstance(error, StacHttpError) else ""
            forms.extend(list_fallbacks(form, status, text, query, endpoints))
        except InvalidPage as error:
            refusals.append(error)
            forms.extend(list_fallbacks(form, HTTPStatus.METHOD_NOT_ALLOWED, "", query, endpoints))
        else:
            if refusals:
                _log.info("catalog %s: accepts %s", hrefs.redact_href(catalog.url), form)
            state.form = replace(form, limit=state.form.limit) if limit is not None else form
            return request, response
    if isinstance(refusals[0], APIError) and get_status(refusals[0]) in _COLLECTION_STATUSES:
        check_collection(catalog, query.collection)
    raise refusals[0]
