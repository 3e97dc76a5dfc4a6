"""Check, when watches are applied, that their catalogs have their collections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from segwatch.geo.errors import CatalogUnreachable, NoSuchCollection
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.search.catalog import open_catalog, require_collection
from segwatch.geo.types.watch import Watch

#: Timeout for each catalog: storing a watch must not wait for one that is down.
_CATALOG_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class CollectionWarning:
    """A problem with the collection of some watches."""

    watches: tuple[str, ...]
    reason: str
    missing: bool
    """Whether the catalog lacks the collection; False = it could not be asked."""


def check_collections(loaded: Sequence[Watch]) -> Iterator[CollectionWarning]:
    """Yield a warning for each collection that is missing or could not be checked; each is queried once."""
    names: dict[tuple[str, str], list[Watch]] = defaultdict(list)
    for watch in loaded:
        names[watch.catalog, watch.profile.collection].append(watch)
    silent: dict[str, str] = {}
    for (catalog, _), watches in names.items():
        affected = tuple(watch.name for watch in watches)
        if catalog not in silent:
            try:
                _check(watches[0])
            except NoSuchCollection as error:
                yield CollectionWarning(
                    affected, f"{error}. Until then the watch finds nothing", missing=True
                )
                continue
            except CatalogUnreachable as error:
                silent[catalog] = error.reason
        if catalog in silent:
            reason = (
                f"catalog {hrefs.redact_href(catalog)} did not respond, so its collection was not checked"
            )
            yield CollectionWarning(affected, f"{reason}: {silent[catalog]}", missing=False)


def _check(watch: Watch) -> None:
    def ask() -> None:
        require_collection(open_catalog(watch.catalog), watch.profile)

    try:
        call_within(_CATALOG_SECONDS, ask)
    except TimeoutError as error:
        reason = f"no response within {_CATALOG_SECONDS:g} s"
        raise CatalogUnreachable(hrefs.redact_href(watch.catalog), reason) from error
