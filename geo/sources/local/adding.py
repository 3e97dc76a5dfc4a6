"""Register files as a source: look at each, infer what it is, and write the source's catalog and profile.

Adding is idempotent. A file that is unchanged since it was added is not opened; one that changed becomes a new version
of its item; new ones become new items. A file that cannot be used is reported with its reason, and the rest goes on.
The collection is written last, so that an interrupted addition leaves the source as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from segwatch.geo.errors import UnusableFile
from segwatch.geo.local_addresses import make_stamp
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http.connections import SceneConnections, open_connections
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS
from segwatch.geo.sources.local import pictures, registry
from segwatch.geo.sources.local.bands import BandMeaning, find_product_band
from segwatch.geo.sources.local.dates import FoundDate, find_date, find_date_ahead
from segwatch.geo.sources.local.inspection import FileFacts, Sample, inspect_file, join_bands, open_file
from segwatch.geo.sources.local.pictures import Thumbnail
from segwatch.geo.sources.local.preparing import Conversion, prepare
from segwatch.geo.sources.local.products import MASK, RGB, group_files
from segwatch.geo.sources.local.profile_file import (
    JudgedFile,
    explain_layout,
    get_bands,
    get_range,
    make_profile,
    write_profile,
)
from segwatch.geo.sources.local.registry import STAMP, LocalSource
from segwatch.geo.sources.local.scanning import FoundFile, choose_id, extend_roots, scan
from segwatch.geo.sources.local.stac import FILE, make_collection, make_item
from segwatch.geo.sources.local.stretch import Stretch, find_border_value, fits, infer_stretch
from segwatch.geo.sources.rasters.header_check import get_size_limits
from segwatch.geo.types.source import CloudMask, Profile

#: Accepted deviation of pixel sizes, as of files of other sources.
_TOLERANCE = 1.05
_NO_SAMPLE = Sample(np.zeros((3, 0, 0), np.float32), (0, 0, 0, 0), 1)


@dataclass(frozen=True, slots=True)
class AddingOptions:
    """What the user said about the files; None = it is inferred."""

    date: str | None = None
    """See :func:`segwatch.geo.sources.local.dates.parse_pattern`."""
    bands: BandMeaning | None = None
    gsd_m: float | None = None
    mask: CloudMask | None = None
    """Meaning of files ``NAME_mask.tif`` beside images; one that masks nothing leaves such files out."""
    ask_date: Callable[[str], str | None] = lambda key: None
    """Asks a person for the date of a file, as of ``date``; None = nobody knows."""
    report: Callable[[int, int, str], None] = lambda done, total, key: None
    """Receives the progress: files looked at, files in total, and the file that is looked at now."""


@dataclass(frozen=True, slots=True)
class AddedFile:
    """A file of the source after an addition."""

    key: str
    """``ROOT/PATH``."""
    item_id: str
    state: str
    """``new``, ``changed``, ``unchanged`` or ``missing``."""
    facts: FileFacts | None = None
    """None where it was not opened."""
    acquired: FoundDate | None = None
    converted: str = ""
    """Why it had to be converted; empty = it is read as it is."""


@dataclass(frozen=True, slots=True)
class AddReport:
    """Result of an addition."""

    source: LocalSource
    profile: Profile
    files: tuple[AddedFile, ...]
    refused: tuple[tuple[str, str], ...]
    """Files that cannot be used: key and reason."""
    preview: Path | None
    """Picture of the files that were looked at; None = none was."""

    def count(self, state: str) -> int:
        """Count the files in a state."""
        return sum(one.state == state for one in self.files)


@dataclass(slots=True)
class _Candidate:
    """A file that was looked at."""

    file: FoundFile
    judged: JudgedFile
    acquired: FoundDate
    thumbnail: Thumbnail | None


@dataclass(slots=True)
class _Work:
    """State of one addition."""

    source: LocalSource
    shared: SceneConnections
    options: AddingOptions
    now: datetime
    items: dict[str, dict[str, Any]]
    taken: dict[str, str]
    """Item id -> key of its file."""
    files: list[AddedFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def add(name: str, paths: Sequence[Path], options: AddingOptions) -> AddReport:
    """Add folders and files to a source, which is made if there is none of this name.

    Raises
    ------
    UnusableFile
        No file can be used, or a path is unusable; nothing is registered then.
    SourceInUse
        Another process changes the source.
    BadDatePattern
        The user's date cannot be read.
    """
    with registry.lock(name) as folder, open_connections(_load_any_profile(), NO_CREDENTIALS) as shared:
        known = registry.find(name) if name in registry.list_names() else LocalSource(name, folder)
        source = replace(known, roots=extend_roots(known.roots, paths))
        items = source.read_items()
        taken = {item_id: str(one["properties"][FILE]) for item_id, one in items.items()}
        work = _Work(source, shared, options, datetime.now(UTC), items, taken)
        candidates = _look(work, group_files(scan(source.roots), options.mask))
        if not items and not candidates:
            raise UnusableFile(_explain_nothing(work))
        profile = _load_or_make_profile(work, candidates)
        for one in candidates:
            _register(work, one, profile)
        if not work.items:
            raise UnusableFile(_explain_nothing(work))
        source.write_roots()
        source.write_collection(make_collection(name, work.items))
        preview = _draw(work, candidates, profile)
        files = tuple(sorted(work.files, key=lambda one: one.key))
        return AddReport(source, profile, files, tuple(sorted(work.refused)), preview)


def _load_any_profile() -> Profile:
    """A profile without access rules: opening registered files needs none."""
    return profiles.load("rgb-cog")


def _explain_nothing(work: _Work) -> str:
    if not work.refused:
        return "no GeoTIFF or JPEG 2000 file was found (.tif, .tiff, .jp2)"
    reasons = "\n".join(f"  {key}: {reason}" for key, reason in work.refused[:20])
    more = f"\n  and {len(work.refused) - 20} more" if len(work.refused) > 20 else ""
    return f"none of {len(work.refused)} file(s) can be used:\n{reasons}{more}"


def _look(work: _Work, found: Sequence[FoundFile]) -> list[_Candidate]:
    """Look at the files that are new or changed; notes the others, and those that are unusable."""
    candidates: list[_Candidate] = []
    by_key = {key: item_id for item_id, key in work.taken.items()}
    for done, file in enumerate(found):
        work.options.report(done, len(found), file.key)
        item_id = by_key.pop(file.key, None)
        if item_id is not None and work.items[item_id]["properties"].get(STAMP) == file.version:
            work.files.append(AddedFile(file.key, item_id, "unchanged"))
            continue
        try:
            candidates.append(_look_at(work, file, with_picture=len(candidates) < pictures.MAX_PICTURES))
        except UnusableFile as error:
            work.refused.append((file.key, str(error)))
    # what is gone stays in the catalog: a disk may only be away, and what was observed remains
    work.files += [AddedFile(key, item_id, "missing") for key, item_id in by_key.items()]
    return candidates


def look_at_file(
    shared: SceneConnections, source: str, file: FoundFile, bands: BandMeaning | None
) -> JudgedFile:
    """Look at one file of a source, and judge what it holds.

    Raises
    ------
    UnusableFile
        With the reason.
    """
    if file.reason:
        raise UnusableFile(file.reason)
    if file.product:
        return _look_at_bands(shared, source, file)
    facts = inspect_file(shared, source, file.root, file.below, file.stamp, name=file.path.name, bands=bands)
    part = find_product_band(file.path.name) if facts.band_count == 1 and bands is None else None
    if part is not None:
        raise UnusableFile(
            f"it is one band of a product ({part}), and red, green and blue are not beside it under names that tell "
            "them surely; put the three into one file (gdalbuildvrt -separate, then gdal_translate), or give --bands 1 "
            "to read each file as grey"
        )
    nodata = find_border_value(facts)
    mask = _check_mask(shared, source, file, facts)
    return JudgedFile(facts, infer_stretch(facts, nodata), nodata, mask)


def _look_at_bands(shared: SceneConnections, source: str, file: FoundFile) -> JudgedFile:
    """Look at the files of an image's bands; their products have the value 0 where there is no data."""
    files, grey = dict(file.parts), BandMeaning(1, 1, 1)
    facts = join_bands(
        [
            inspect_file(shared, source, one.root, one.below, one.stamp, name=one.path.name, bands=grey)
            for one in (files[name] for name in RGB)
        ],
        file.product,
    )
    nodata = 0.0 if facts.nodata is None else None
    return JudgedFile(facts, infer_stretch(facts, nodata), nodata, _check_mask(shared, source, file, facts))


def _check_mask(shared: SceneConnections, source: str, file: FoundFile, facts: FileFacts) -> CloudMask | None:
    """Check that the mask of an image, if it has one, can be laid over it."""
    mask = dict(file.parts).get(MASK)
    if mask is None:
        return None
    try:
        found = inspect_file(
            shared, source, mask.root, mask.below, mask.stamp, name=mask.path.name, bands=BandMeaning(1, 1, 1)
        )
    except UnusableFile as error:
        raise UnusableFile(f"its mask {mask.path.name} cannot be used: {error}") from error
    if found.crs != facts.crs or found.control_points or not found.footprint.intersects(facts.footprint):
        raise UnusableFile(f"its mask {mask.path.name} has another CRS, or does not lie over it")
    return file.mask


def _look_at(work: _Work, file: FoundFile, *, with_picture: bool) -> _Candidate:
    judged = look_at_file(work.shared, work.source.name, file, work.options.bands)
    facts = judged.facts
    acquired = find_date(file.named_path, facts.tags, work.options.date, work.now)
    if acquired is None:
        acquired = _ask(work, file, facts)
    thumbnail = pictures.make_thumbnail(facts, judged.nodata) if with_picture else None
    # thousands of samples would not fit in memory
    return _Candidate(file, replace(judged, facts=replace(facts, sample=_NO_SAMPLE)), acquired, thumbnail)


def _ask(work: _Work, file: FoundFile, facts: FileFacts) -> FoundDate:
    """Ask for a date that neither a tag nor the name tells.

    Raises
    ------
    UnusableFile
        Nobody tells it, or what tells it cannot be right.
    """
    pattern = work.options.date
    ahead = find_date_ahead(file.named_path, facts.tags, pattern, work.now)
    if ahead is not None:
        raise UnusableFile(
            f"its date, {ahead.text} ({ahead.how}), is yet to come; rename it, or give --date 2024-05-01 or a pattern "
            "such as --date %d%m%Y"
        )
    if pattern is not None:
        raise UnusableFile(f"no part of its name, nor of a folder's, fits --date {pattern}")
    given = work.options.ask_date(file.key)
    found = find_date(file.named_path, {}, given, work.now) if given else None
    if found is None:
        raise UnusableFile(
            "its date is not known: neither a tag nor its name tells it; give --date 2024-05-01, or a pattern such as "
            "--date %d%m%Y"
        )
    return found


def _load_or_make_profile(work: _Work, candidates: Sequence[_Candidate]) -> Profile:
    """The source's profile: made once, then kept, as the user may have edited it."""
    path = work.source.profile_path
    if not path.exists():
        made = make_profile(work.source.name, [one.judged for one in candidates], work.options.gsd_m)
        registry.write_atomically(path, write_profile(made).encode())
    return profiles.load(str(path))


def _register(work: _Work, one: _Candidate, profile: Profile) -> None:
    file, facts = one.file, one.judged.facts
    item_id = choose_id(file, work.taken)
    try:
        if unlike := explain_layout(one.judged, profile):
            raise UnusableFile(unlike)
        # the bands of a product are stretched as most files of the source are: they are measured alike
        why = "" if file.product else explain_conversion(one.judged, profile)
        _check_size(facts, profile)
        with open_file(work.shared, work.source.name, file.root, file.below, file.stamp) as (
            dataset,
            structure,
        ):
            read = None
            if why:
                conversion = Conversion(one.judged.stretch, get_range(profile), one.judged.nodata)
                target = work.source.prepared.path / f"{item_id}.tif"
                prepare(dataset, structure, facts, conversion, target, get_bands(profile))
                read = FoundFile(work.source.prepared, target.name, make_stamp(target.stat()))
            item = make_item(dataset, file, facts, one.acquired, item_id, work.source.name, work.now, read)
    except UnusableFile as error:
        work.refused.append((file.key, str(error)))
        return
    state = "changed" if item_id in work.items else "new"
    work.source.write_item(item)
    work.items[item_id], work.taken[item_id] = item, file.key
    work.files.append(AddedFile(file.key, item_id, state, facts, one.acquired, why))


def _check_size(facts: FileFacts, profile: Profile) -> None:
    finest, coarsest = get_size_limits(profile)
    if not finest / _TOLERANCE <= facts.gsd_m <= coarsest * _TOLERANCE:
        raise UnusableFile(
            f"its pixels are {facts.gsd_m:.3g} m long, the source is read at {profile.gsd_m:g} m and takes {finest:g} "
            f"to {coarsest:g} m; add it as a source of its own with another --name"
        )


def explain_conversion(judged: JudgedFile, profile: Profile) -> str:
    """Say why a profile cannot read a file as it is; empty where it can."""
    facts = judged.facts
    reasons = {
        "palette": facts.palette,
        "control points": facts.control_points,
        "white is 0": facts.white_is_zero,
        f"band {facts.band_count} is marked as alpha, but holds a picture": facts.false_alpha,
        f"other bands ({facts.bands.text})": facts.bands.rgb != get_bands(profile),
        f"other values ({judged.stretch.text})": not fits(judged.stretch, get_range(profile)),
        "black border": judged.nodata is not None and judged.nodata != profile.nodata,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def _draw(work: _Work, candidates: Sequence[_Candidate], profile: Profile) -> Path | None:
    """Draw the files that were looked at, as they will be rendered, in the order of their names."""
    drawn = [
        pictures.draw_thumbnail(one.thumbnail, _choose_stretch(one, profile), profile.gamma)
        for one in candidates
        if one.thumbnail is not None and one.file.key in {each.key for each in work.files}
    ]
    if not drawn:
        return None
    pictures.write_sheet(drawn, work.source.preview_path)
    return work.source.preview_path


def _choose_stretch(one: _Candidate, profile: Profile) -> Stretch:
    converted = not one.file.product and explain_conversion(one.judged, profile)
    return one.judged.stretch if converted else get_range(profile)
