"""One image that is read once, without registering it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from segwatch.geo.errors import UnusableFile
from segwatch.geo.local_addresses import Root, make_address, make_grant, make_stamp
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources.http.connections import open_connections
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS
from segwatch.geo.sources.local.adding import explain_conversion, look_at_file
from segwatch.geo.sources.local.bands import BandMeaning
from segwatch.geo.sources.local.dates import find_date
from segwatch.geo.sources.local.inspection import FileFacts, open_file
from segwatch.geo.sources.local.preparing import Conversion, prepare
from segwatch.geo.sources.local.profile_file import ASSET, get_bands, get_range, make_profile
from segwatch.geo.sources.local.registry import PREPARED
from segwatch.geo.sources.local.scanning import scan
from segwatch.geo.sources.profiles import load
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile

_NAME = "image"


@dataclass(frozen=True, slots=True)
class SingleImage:
    """An image as a scene of its own source."""

    scene: Scene
    profile: Profile
    grants: tuple[str, ...]
    """Allowed hosts to read it with."""
    facts: FileFacts
    """Without its sample."""
    converted: str
    """Why it had to be converted; empty = it is read as it is."""


def open_single(
    path: Path, folder: Path, *, bands: BandMeaning | None = None, gsd_m: float | None = None
) -> SingleImage:
    """Look at an image and make it readable.

    Parameters
    ----------
    folder
        Empty folder for a converted file; it must stay while the image is read.
    bands, gsd_m
        What the user said about it; None = it is inferred.

    Raises
    ------
    UnusableFile
        With the reason.
    """
    try:
        real = path.expanduser().resolve(strict=True)
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error
    if real.is_dir():
        raise UnusableFile(
            f"{path} is a folder; give one image, or register the folder with segwatch source add"
        )
    root, now = Root("file", real), datetime.now(UTC)
    [file] = scan([root])
    with open_connections(load("rgb-cog"), NO_CREDENTIALS) as shared:
        judged = look_at_file(shared, _NAME, file, bands)
        facts = judged.facts
        profile = replace(make_profile(_NAME, [judged], gsd_m), finest_m=None, coarsest_m=None)
        why = explain_conversion(judged, profile)
        address, grants = make_address(_NAME, root.label, "", file.stamp), [make_grant(_NAME, root)]
        if why:
            made = Root(PREPARED, folder.resolve())
            target = made.path / "image.tif"
            with open_file(shared, _NAME, root, "", file.stamp) as (dataset, structure):
                conversion = Conversion(judged.stretch, get_range(profile), judged.nodata)
                prepare(dataset, structure, facts, conversion, target, get_bands(profile))
            address = make_address(_NAME, made.label, target.name, make_stamp(target.stat()))
            grants.append(make_grant(_NAME, made))
    found = find_date(real, facts.tags, None, now)
    acquired = found.middle if found is not None else now
    item = Item(real.stem, _NAME, address, acquired, None, "", "", "", facts.footprint, {ASSET: address})
    [scene] = group_scenes([item])
    return SingleImage(scene, profile, tuple(grants), facts, why)
