"""Inspect a catalog: what it supports, and whether a profile fits it, by test requests and sample reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import shapely
from odc.geo.geobox import GeoBox

from segwatch.geo import grid as grids
from segwatch.geo.crs import choose_utm, to_crs, to_lonlat
from segwatch.geo.errors import BadItem, GeoError, NoSuchCollection, UnfitPixels
from segwatch.geo.items import parse_item
from segwatch.geo.judging import PixelSample, describe_sample, find_misrendering
from segwatch.geo.rendering import render
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.rasters import pixels
from segwatch.geo.sources.search.catalog import API, Catalog, describe, open_catalog, require_collection
from segwatch.geo.sources.search.completeness import Completeness, judge_completeness
from segwatch.geo.sources.search.item_search import SAMPLE_PAGE_ITEMS, sample
from segwatch.geo.sources.search.paging import PagingResult, get_property
from segwatch.geo.sources.search.profile_check import SourceFinding, compare
from segwatch.geo.text.shares import format_share_percent
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

_SAMPLE_ITEMS = 20
_SAMPLE_PX = 64
#: Maximum items whose middle is read until one is clear enough to judge its rendering.
_MAX_SAMPLE_READS = 5


def inspect(
    url: str,
    profile: Profile | None,
    *,
    credentials: Credentials = NO_CREDENTIALS,
    imagery_hosts: Sequence[str] = (),
) -> Iterator[SourceFinding]:
    """Inspect a catalog, and whether a profile fits it; yield findings as they are made.

    Parameters
    ----------
    imagery_hosts
        Hosts that samples may be read from, besides those of the profile and the catalog.

    Raises
    ------
    CatalogUnreachable
        The catalog does not respond.
    """
    reached = open_catalog(url)
    kind, classes = describe(reached)
    yield SourceFinding(
        "catalog", True, kind if reached.url == url else f"{kind} at {hrefs.redact_href(reached.url)}"
    )
    if kind == API:
        yield SourceFinding(
            "search", "ITEM_SEARCH" in classes, "declared" if "ITEM_SEARCH" in classes else "not declared"
        )
        for name, what in (("SORT", "sort"), ("QUERY", "query"), ("FILTER", "filter")):
            yield SourceFinding(what, True, "declared" if name in classes else "not declared")
    if profile is not None:
        yield from _check_collection(reached, profile)
    wanted = None if profile is None else profile.collection
    documents, pages = sample(reached, wanted, _SAMPLE_ITEMS)
    names = sorted({str(document.get("collection")) for document in documents})
    yield SourceFinding(
        "items", bool(documents), f"{len(documents)} inspected, of {', '.join(names) or 'no collection'}"
    )
    if not documents:
        return
    yield _check_paging(reached, documents, pages)
    yield from _check_contents(documents)
    if profile is not None:
        hosts = hrefs.list_readable_hosts(profile, url, imagery_hosts)
        yield from _check_profile(documents, profile, url, credentials, hosts)


def _check_collection(reached: Catalog, profile: Profile) -> Iterator[SourceFinding]:
    """Whether the catalog has the profile's collection; no finding where that cannot be determined."""
    try:
        held = require_collection(reached, profile)
    except NoSuchCollection as error:
        yield SourceFinding("collection", False, f"the catalog {error.reason}")
        return
    if held is not None:
        yield SourceFinding("collection", True, ", ".join(filter(None, (held.name, held.extent))))


def _check_paging(
    reached: Catalog, documents: list[dict[str, Any]], pages: PagingResult | None
) -> SourceFinding:
    distinct = len({(str(one.get("collection")), str(one.get("id"))) for one in documents})
    way = f", requested by {reached.state.form.method}" if reached.is_api else ""
    cut = pages is not None and (
        pages.repeats or judge_completeness(pages, SAMPLE_PAGE_ITEMS) is Completeness.TRUNCATED
    )
    hint = "; a full page has no link to the next: searches are split into parts of the period" if cut else ""
    return SourceFinding("paging", distinct == len(documents), f"{distinct} different ids{way}{hint}")


def _check_contents(documents: list[dict[str, Any]]) -> Iterator[SourceFinding]:
    updated = sum(1 for one in documents if get_property(one, "updated"))
    all_have = updated == len(documents)
    hint = "" if all_have else "; new items are found by searching the whole period, or the last rescan_days"
    yield SourceFinding("updated", True, f"{updated} of {len(documents)} items have an updated time{hint}")
    assets = [set(one["assets"]) for one in documents if isinstance(one.get("assets"), dict)]
    common = sorted(set.intersection(*assets)) if assets else []
    yield SourceFinding("assets", bool(common), ", ".join(common) or "the items have no asset in common")
    projected = sum(1 for one in documents if "proj:" in str(one.get("properties")) + str(one.get("assets")))
    yield SourceFinding(
        "projection", True, f"{projected} of {len(documents)} items have the projection extension"
    )


def _check_profile(
    documents: list[dict[str, Any]],
    profile: Profile,
    url: str,
    credentials: Credentials,
    hosts: Sequence[str],
) -> Iterator[SourceFinding]:
    items, reasons = [], []
    for document in documents:
        try:
            items.append(parse_item(document, profile, base=url))
        except BadItem as error:
            reasons.append(error.reason)
    usable = f"{len(items)} of {len(documents)} items can be used"
    yield SourceFinding("profile", bool(items), f"{usable}{'; ' + reasons[0] if reasons else ''}")
    if not items:
        return
    findings: list[SourceFinding] = []
    some = items[:_MAX_SAMPLE_READS]
    for item in some:
        scene = group_scenes([item])[0]
        findings = list(_check_sample(scene, profile, hosts, credentials))
        if any(one.about == "rendering" for one in findings):
            break  # judged; a cloudy item cannot be, so the next one is tried
    else:
        findings.append(
            SourceFinding(
                "rendering", False, f"not judged: no clear pixel in {len(items[:_MAX_SAMPLE_READS])} samples"
            )
        )
    yield from findings


def _check_sample(
    scene: Scene, profile: Profile, hosts: Sequence[str], credentials: Credentials
) -> Iterator[SourceFinding]:
    """Read the middle of a scene; no finding about ``rendering`` where no pixel is clear."""
    grid = _middle(scene, profile)
    try:
        with pixels.open_scene(scene, profile, grid, allowed_hosts=hosts, credentials=credentials) as reader:
            headers, window, mask_values = reader.headers(), reader.read(grid), reader.mask_values(grid)
    except UnfitPixels as error:
        yield SourceFinding("rendering", False, str(error))
        return
    except GeoError as error:
        yield SourceFinding("sample read", False, str(error))
        return
    valid, clear = window.valid.values, window.clear.values
    shares = f"{format_share_percent(float(valid.mean()))} valid, {format_share_percent(float(clear.mean()))} clear"
    size = f"{grid.width} x {grid.height} px of {scene.items[0].id}, {window.bytes_read / 1e6:.2f} MB read"
    yield SourceFinding("sample read", bool(valid.any()), f"{size}, {shares}")
    yield from compare(headers, mask_values, profile)
    usable = valid & clear
    if usable.any():
        rgb = render(window.bands, window.valid, profile)
        shades = PixelSample.of(window.bands.values[:, usable], rgb.values[usable], profile)
        reason = find_misrendering(shades, profile)
        yield SourceFinding("rendering", reason is None, reason or describe_sample(shades))


def _middle(scene: Scene, profile: Profile) -> GeoBox:
    crs = choose_utm(scene.footprint)
    half = _SAMPLE_PX / 2 * profile.gsd_m
    centre = to_crs(scene.footprint.representative_point(), crs)
    return grids.make_grid(to_lonlat(shapely.box(*centre.buffer(half).bounds), crs), profile.gsd_m)
