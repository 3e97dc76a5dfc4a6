"""Sources: bands, cloud masks, access to assets, and the profile of a catalog's collection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BandRef:
    """One band of one asset."""

    asset: str
    """Asset key in the STAC item."""
    index: int = 1
    """1-based band number inside the asset's file."""
    minus: BandRef | None = None
    """Another band that is taken off, after scaling: of decibels that is a ratio."""
    low: float | None = None
    """Value rendered as 0, where it is not the profile's."""
    high: float | None = None
    """Value rendered as 255, where it is not the profile's."""


@dataclass(frozen=True, slots=True)
class CloudMask:
    """How a collection marks pixels that show no ground."""

    band: BandRef
    unclear_values: tuple[int, ...] = ()
    """Class values that mean cloud, cirrus or shadow."""
    unclear_bits: tuple[int, ...] = ()
    """Bit numbers (0 = least significant); any of them set means cloud, cirrus or shadow."""
    invalid_values: tuple[int, ...] = ()
    """Class values that mean no data."""


@dataclass(frozen=True, slots=True)
class AssetAccess:
    """How a source lets assets be read; the secrets themselves are settings."""

    method: str
    """``planetary-computer``, ``bearer``, ``headers``, ``oauth2`` or ``s3``."""
    token_url: str = ""
    """Where tokens come from."""
    client_id: str = ""
    """Of ``oauth2``."""
    region: str = ""
    """Of ``s3``: where the buckets are."""
    endpoint: str = ""
    """Of ``s3``: the address of a store that is not Amazon's; buckets are the first part of its paths."""
    requester_pays: bool = False
    """Of ``s3``: who reads is billed for it."""
    redirect_hosts: tuple[str, ...] = ()
    """Hosts that assets may be redirected to, https only; they are sent no credentials."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one collection's imagery is found and rendered to 8-bit RGB for the model."""

    name: str
    title: str
    collection: str
    """``*`` = any, of catalogs with a collection for each acquisition."""
    red: BandRef
    green: BandRef
    blue: BandRef
    low: float
    """Value (after scale and offset) rendered as 0."""
    high: float
    """Value (after scale and offset) rendered as 255."""
    gsd_m: float
    """Ground sample distance, metres, at which the model looks."""
    catalog: str | None = None
    """STAC API root; a watch may override it."""
    scale: float = 1.0
    offset: float = 0.0
    offset_from_baseline: str = ""
    """Processing baseline from which on ``offset`` applies (Sentinel-2: ``04.00``); empty = to every item."""
    nodata: float | None = None
    gamma: float = 1.0
    clouds: CloudMask | None = None
    license: str = ""
    attribution: str = ""
    decibels: bool = False
    """Whether values become 10 log10 of themselves after scaling, as radar backscatter is shown."""
    access: AssetAccess | None = None
    """None = anybody may read."""
    rescan_days: float | None = None
    """Items of acquisitions longer ago are not expected to come any more, but for the daily comparison of everything;
    None = they are at any time. For catalogs whose items do not say when they were updated."""
    hosts: tuple[str, ...] = ()
    """Host names assets may be read from, besides the catalog's own. ``*.example.org`` is allowed."""
    finest_m: float | None = None
    coarsest_m: float | None = None
    """Files with pixels (metres) between these are taken; None = an eighth of ``gsd_m``, and twice ``gsd_m``."""
    max_saturated: float = 0.8
    """Share of a picture's clear values that may be clipped to black or to white, 0..1; 1 = all."""

    @property
    def store(self) -> str:
        """The object store that its links are taken into; empty = the web links that items give."""
        access = self.access
        return f"s3 {access.endpoint or access.region}" if access and access.method == "s3" else ""

    def assets(self) -> tuple[str, ...]:
        """Asset keys an item must have, without repeats, in band order, the mask last."""
        bands = [*self.bands(), *([self.clouds.band] if self.clouds else [])]
        return tuple(dict.fromkeys(band.asset for band in bands))

    def bands(self) -> tuple[BandRef, ...]:
        """Bands that are read: red, green, blue, then those that are taken off."""
        shown = (self.red, self.green, self.blue)
        return (*shown, *(band.minus for band in shown if band.minus is not None))
