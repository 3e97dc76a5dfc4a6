"""What a catalog can do, and whether a profile fits it: asked, not believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import shapely
from odc.geo.geobox import GeoBox

from segwatch.geo import grid as grids
from segwatch.geo.crs import to_local, to_lonlat, utm
from segwatch.geo.errors import BadItem, GeoError, NoSuchCollection, UnfitPixels
from segwatch.geo.judging import Shades, described, misrendered
from segwatch.geo.rendering import render
from segwatch.geo.scenes import group, parse_item
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.rasters.pixels import opened
from segwatch.geo.sources.search import catalog
from segwatch.geo.sources.search.completeness import Verdict, judge
from segwatch.geo.sources.search.paging import Pages
from segwatch.geo.sources.search.profile_check import Finding, compare
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

_SAMPLE_ITEMS = 20
_SAMPLE_PX = 64
#: Items of which the middle is read, until one can be judged.
_SAMPLE_READS = 5


def inspect(
    url: str,
    profile: Profile | None,
    *,
    credentials: Credentials = NO_CREDENTIALS,
    imagery_hosts: Sequence[str] = (),
) -> Iterator[Finding]:
    """Look at a catalog, with the eyes of a profile where one is given; findings as they come.

    Parameters
    ----------
    imagery_hosts
        Hosts that samples may be read from besides those of the profile and the catalog.

    Raises
    ------
    CatalogUnreachable
        It does not answer at all.
    """
    reached = catalog.opened(url)
    kind, conforms = catalog.describe(reached)
    yield Finding("catalog", True, kind if reached.url == url else f"{kind} at {hrefs.shown(reached.url)}")
    if kind == catalog.API:
        yield Finding(
            "search", "ITEM_SEARCH" in conforms, "declared" if "ITEM_SEARCH" in conforms else "not declared"
        )
        for name, what in (("SORT", "sort"), ("QUERY", "query"), ("FILTER", "filter")):
            yield Finding(what, True, "declared" if name in conforms else "not declared")
    if profile is not None:
        yield from _collection(reached, profile)
    wanted = None if profile is None else profile.collection
    documents, pages = catalog.sample(reached, wanted, _SAMPLE_ITEMS)
    names = sorted({str(document.get("collection")) for document in documents})
    yield Finding(
        "items", bool(documents), f"{len(documents)} looked at, of {', '.join(names) or 'no collection'}"
    )
    if not documents:
        return
    yield _paging(reached, documents, pages)
    yield from _contents(documents)
    if profile is not None:
        hosts = hrefs.readable_hosts(profile, url, imagery_hosts)
        yield from _fit(documents, profile, url, credentials, hosts)


def _collection(reached: catalog.Catalog, profile: Profile) -> Iterator[Finding]:
    """Whether the catalog has the profile's collection; nothing where it does not tell."""
    try:
        held = catalog.require_collection(reached, profile)
    except NoSuchCollection as error:
        yield Finding("collection", False, f"the catalog {error.reason}")
        return
    if held is not None:
        yield Finding("collection", True, ", ".join(filter(None, (held.name, held.extent))))


def _paging(reached: catalog.Catalog, documents: list[dict[str, Any]], pages: Pages | None) -> Finding:
    distinct = len({(str(one.get("collection")), str(one.get("id"))) for one in documents})
    way = f", asked by {reached.state.way.method}" if reached.is_api else ""
    cut = pages is not None and (pages.repeats or judge(pages, catalog.SAMPLE_PAGE_ITEMS) is Verdict.CUT)
    hint = (
        "; it does not link to the page after a full one: searches go on by parts of the period"
        if cut
        else ""
    )
    return Finding("paging", distinct == len(documents), f"{distinct} different ids{way}{hint}")


def _contents(documents: list[dict[str, Any]]) -> Iterator[Finding]:
    updated = sum(1 for one in documents if catalog.property_of(one, "updated"))
    all_say = updated == len(documents)
    hint = "" if all_say else "; new items are found by asking for the whole period, or rescan_days of it"
    yield Finding("updated", True, f"{updated} of {len(documents)} items say when{hint}")
    assets = [set(one["assets"]) for one in documents if isinstance(one.get("assets"), dict)]
    common = sorted(set.intersection(*assets)) if assets else []
    yield Finding("assets", bool(common), ", ".join(common) or "no asset is in all items")
    projected = sum(1 for one in documents if "proj:" in str(one.get("properties")) + str(one.get("assets")))
    yield Finding("projection", True, f"{projected} of {len(documents)} items have the projection extension")


def _fit(
    documents: list[dict[str, Any]],
    profile: Profile,
    url: str,
    credentials: Credentials,
    hosts: Sequence[str],
) -> Iterator[Finding]:
    items, reasons = [], []
    for document in documents:
        try:
            items.append(parse_item(document, profile, base=url))
        except BadItem as error:
            reasons.append(error.reason)
    fits = f"{len(items)} of {len(documents)} items can be used"
    yield Finding("profile", bool(items), f"{fits}{'; ' + reasons[0] if reasons else ''}")
    if not items:
        return
    findings: list[Finding] = []
    some = items[:_SAMPLE_READS]
    for item in some:
        scene = group([item])[0]
        findings = list(_sample(scene, profile, hosts, credentials))
        if any(one.about == "rendering" for one in findings):
            break  # judged; an item under clouds tells nothing, the next one may
    else:
        findings.append(
            Finding("rendering", False, f"not judged: no clear pixel in {len(items[:_SAMPLE_READS])} samples")
        )
    yield from findings


def _sample(
    scene: Scene, profile: Profile, hosts: Sequence[str], credentials: Credentials
) -> Iterator[Finding]:
    """Read the middle of a scene; a finding about ``rendering`` comes only where it could be judged."""
    grid = _middle(scene, profile)
    try:
        with opened(scene, profile, grid, allowed_hosts=hosts, credentials=credentials) as reader:
            headers, window, classes = reader.headers(), reader.read(grid), reader.mask_values(grid)
    except UnfitPixels as error:
        yield Finding("rendering", False, str(error))
        return
    except GeoError as error:
        yield Finding("sample read", False, str(error))
        return
    valid, clear = window.valid.values, window.clear.values
    shares = f"{valid.mean():.0%} imaged, {clear.mean():.0%} clear"
    size = f"{grid.width} x {grid.height} px of {scene.items[0].id}, {window.bytes_read / 1e6:.2f} MB read"
    yield Finding("sample read", bool(valid.any()), f"{size}, {shares}")
    yield from compare(headers, classes, profile)
    usable = valid & clear
    if usable.any():
        rgb = render(window.bands, window.valid, profile)
        shades = Shades.of(window.bands.values[:, usable], rgb.values[usable], profile)
        reason = misrendered(shades, profile)
        yield Finding("rendering", reason is None, reason or described(shades))


def _middle(scene: Scene, profile: Profile) -> GeoBox:
    crs = utm(scene.footprint)
    half = _SAMPLE_PX / 2 * profile.gsd_m
    centre = to_local(scene.footprint.representative_point(), crs)
    return grids.for_area(to_lonlat(shapely.box(*centre.buffer(half).bounds), crs), profile.gsd_m)
