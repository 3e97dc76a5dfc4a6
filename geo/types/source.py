"""Source profiles: bands, cloud masks, access to assets and rendering of one collection."""

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
    """Band to subtract after scaling; a difference of decibels is a ratio."""
    low: float | None = None
    """Value rendered as 0; None = the profile's ``low``."""
    high: float | None = None
    """Value rendered as 255; None = the profile's ``high``."""


@dataclass(frozen=True, slots=True)
class SpectralBand:
    """One band that spectral indices are computed from."""

    name: str
    """``green``, ``red``, ``nir``, ``swir1``, ``swir2``, ``vv`` or ``vh``."""
    band: BandRef


@dataclass(frozen=True, slots=True)
class CloudMask:
    """How a collection marks pixels that are cloudy or invalid."""

    band: BandRef
    unclear_values: tuple[int, ...] = ()
    """Class values that mean cloud, cirrus or shadow."""
    unclear_bits: tuple[int, ...] = ()
    """Bit numbers (0 = least significant); any of them set means cloud, cirrus or shadow."""
    invalid_values: tuple[int, ...] = ()
    """Class values that mean no data."""


@dataclass(frozen=True, slots=True)
class AssetAccess:
    """How a source authorizes reading assets. The secrets themselves are settings, not part of a profile."""

    method: str
    """``planetary-computer``, ``bearer``, ``headers``, ``oauth2`` or ``s3``."""
    token_url: str = ""
    """Endpoint that issues tokens, for ``planetary-computer`` and ``oauth2``."""
    client_id: str = ""
    """Client id for ``oauth2``."""
    region: str = ""
    """Region of the buckets, for ``s3``."""
    endpoint: str = ""
    """URL of an S3-compatible store other than Amazon's, for ``s3``; addressed by path (``endpoint/bucket/key``)."""
    requester_pays: bool = False
    """Whether the reader pays for requests and transfer, for ``s3``."""
    redirect_hosts: tuple[str, ...] = ()
    """Other hosts that assets may redirect to, https only. They receive no credentials."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one collection's imagery is found and rendered to 8-bit RGB for the model."""

    name: str
    title: str
    collection: str
    """Collection id; ``*`` = any, for catalogs with one collection per acquisition."""
    red: BandRef
    green: BandRef
    blue: BandRef
    low: float
    """Value (after scale and offset) rendered as 0."""
    high: float
    """Value (after scale and offset) rendered as 255."""
    gsd_m: float
    """Ground sample distance in metres at which imagery is read for the model."""
    catalog: str | None = None
    """URL of the catalog; a watch may override it."""
    scale: float = 1.0
    offset: float = 0.0
    offset_from_baseline: str = ""
    """First processing baseline to which ``offset`` applies (Sentinel-2: ``04.00``); empty = every item."""
    nodata: float | None = None
    gamma: float = 1.0
    clouds: CloudMask | None = None
    license: str = ""
    attribution: str = ""
    decibels: bool = False
    """Whether scaled values are converted to decibels (10 log10), as usual for radar backscatter."""
    access: AssetAccess | None = None
    """None = assets are public."""
    rescan_days: float | None = None
    """Days back from now that are searched again for late items, besides the daily reconcile; None = the whole period.
    For catalogs whose items have no ``updated`` time."""
    hosts: tuple[str, ...] = ()
    """Hosts that assets may be read from, besides the catalog's own; wildcards as ``*.example.org``."""
    finest_m: float | None = None
    coarsest_m: float | None = None
    """Accepted pixel sizes of files, in metres; None = an eighth of ``gsd_m`` and twice ``gsd_m``."""
    max_saturated: float = 0.8
    """Maximum share of clear values that rendering may clip to black or white, 0 to 1; 1 = no limit."""
    spectral: tuple[SpectralBand, ...] = ()
    """Bands for spectral evidence, with the same scale and offset as the rendered ones; empty = no evidence. Items may
    lack their assets."""

    @property
    def store(self) -> str:
        """Object store that hrefs are rewritten for; empty = the items' own http(s) hrefs."""
        access = self.access
        return f"s3 {access.endpoint or access.region}" if access and access.method == "s3" else ""

    def assets(self) -> tuple[str, ...]:
        """List the asset keys that an item must have, without duplicates: in band order, the mask last.

        Those of :attr:`spectral` are not among them: an item without them only lacks evidence.
        """
        bands = [*self.bands(), *([self.clouds.band] if self.clouds else [])]
        return tuple(dict.fromkeys(band.asset for band in bands))

    def optional_assets(self) -> tuple[str, ...]:
        """List the asset keys of spectral bands that are not among :meth:`assets`."""
        needed = self.assets()
        return tuple(dict.fromkeys(one.band.asset for one in self.spectral if one.band.asset not in needed))

    def bands(self) -> tuple[BandRef, ...]:
        """List the bands to read: red, green, blue, then the bands to subtract."""
        shown = (self.red, self.green, self.blue)
        return (*shown, *(band.minus for band in shown if band.minus is not None))
