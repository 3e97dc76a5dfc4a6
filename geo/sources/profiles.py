"""Load source profiles from TOML files into :class:`segwatch.geo.types.source.Profile`.

Shipped profiles are in ``profiles_data``; a path ending in ``.toml`` loads a user's own. Error messages name the file,
the field, the value and the fix.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from segwatch.geo.errors import ProfileError
from segwatch.geo.text.redaction import require_public_url
from segwatch.geo.text.spelling import describe_errors, find_nearest
from segwatch.geo.types.source import AssetAccess, BandRef, CloudMask, Profile, SpectralBand

_HOST = re.compile(r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(\d{1,5}|\*))?$")
#: A century. To search the whole period, the field is omitted.
_MAX_RESCAN_DAYS = 36_525
_BASELINE = r"^\d{2}\.\d{2}$"


def _host(text: str) -> str:
    if not _HOST.match(text):
        raise ValueError(
            "must be a lower-case host name like data.example.org, data.example.org:8443 or *.example.org, without "
            "scheme or path"
        )
    if text.startswith("*.") and text.count(".") < 2:
        raise ValueError("is too broad; give at least two labels after the asterisk, like *.example.org")
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Plain(_Part):
    asset: str = Field(min_length=1, description="Key of the asset in the STAC item.")
    index: int = Field(1, ge=1, description="Number of the band in the asset's file, from 1 on.")

    def build(self) -> BandRef:
        return BandRef(self.asset, self.index)


class _Band(_Plain):
    minus: _Plain | None = Field(
        None, description="Band to subtract after scaling; a difference of decibels is a ratio."
    )
    low: float | None = Field(None, description="Value rendered as 0. Default: the profile's `low`.")
    high: float | None = Field(None, description="Value rendered as 255. Default: the profile's `high`.")

    def build(self) -> BandRef:
        minus = self.minus.build() if self.minus is not None else None
        return BandRef(self.asset, self.index, minus, self.low, self.high)


#: URL of a service. It is shown with the profile, so it must not contain credentials.
_Address = Annotated[str, AfterValidator(require_public_url)]


class _Access(_Part):
    method: Literal["planetary-computer", "bearer", "headers", "oauth2", "s3"] = Field(
        description="How requests for assets are authorized; the secrets are in SEGWATCH_CREDENTIALS."
    )
    token_url: _Address = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Endpoint that issues tokens: required for `oauth2`; `planetary-computer` has one by default.",
    )
    client_id: str = Field("", description="Client id, for `oauth2`.")
    region: str = Field(
        "",
        pattern=r"^[a-z0-9-]*$",
        description="Region of the buckets, for `s3`; required without `endpoint`.",
    )
    endpoint: _Address = Field(
        "",
        pattern=r"^(https?://[^\s/]+)?$",
        description="URL of an S3-compatible store other than Amazon's, for `s3`; addressed by path.",
    )
    requester_pays: bool = Field(
        False, description="Whether the reader pays for requests and transfer, for `s3`."
    )
    redirect_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        (), description="Other hosts that assets may redirect to, https only. They receive no credentials."
    )

    @model_validator(mode="after")
    def _has_endpoint(self) -> Self:
        if self.method == "oauth2" and not self.token_url:
            raise ValueError("oauth2 needs token_url, the endpoint that issues tokens")
        if self.method == "s3" and not (self.region or self.endpoint):
            raise ValueError("s3 needs the region of the buckets, or the endpoint of another store")
        return self


class _Clouds(_Plain):
    unclear_values: tuple[int, ...] = Field((), description="Class values that mean cloud, cirrus or shadow.")
    unclear_bits: tuple[Annotated[int, Field(ge=0, le=31)], ...] = Field(
        (),
        description="Bit numbers, 0 = least significant; any of them set means cloud, cirrus or shadow. Give this or "
        "`unclear_values`.",
    )
    invalid_values: tuple[int, ...] = Field((), description="Class values that mean no data.")

    @model_validator(mode="after")
    def _masks_something(self) -> Self:
        if not (self.unclear_values or self.unclear_bits):
            raise ValueError("give unclear_values or unclear_bits; otherwise the mask masks nothing")
        return self


class _Bands(_Part):
    red: _Band = Field(description="Band rendered as red.")
    green: _Band = Field(description="Band rendered as green.")
    blue: _Band = Field(description="Band rendered as blue.")


class _Spectral(_Part):
    """Bands for spectral evidence; they are scaled like the rendered ones."""

    green: _Plain | None = Field(None, description="Green, about 0.56 µm.")
    red: _Plain | None = Field(None, description="Red, about 0.66 µm.")
    nir: _Plain | None = Field(None, description="Near infrared, about 0.84 µm.")
    swir1: _Plain | None = Field(None, description="Short-wave infrared, about 1.6 µm.")
    swir2: _Plain | None = Field(None, description="Short-wave infrared, about 2.2 µm.")
    vv: _Plain | None = Field(None, description="Radar backscatter, sent and received vertically.")
    vh: _Plain | None = Field(None, description="Radar backscatter, sent vertically, received horizontally.")

    def build(self) -> tuple[SpectralBand, ...]:
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        return tuple(SpectralBand(name, part.build()) for name, part in given if part is not None)


class _ProfileFile(_Part):
    title: str = Field(description="One line for lists.")
    collection: str = Field(
        min_length=1,
        description="Id of the STAC collection; * = any, for catalogs with one collection per acquisition.",
    )
    catalog: _Address | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="URL of the STAC API or static catalog; a watch may name another one.",
    )
    bands: _Bands = Field(description="Bands that are rendered as red, green and blue.")
    low: float = Field(description="Value rendered as 0, after `scale`, `offset` and `decibels`.")
    high: float = Field(description="Value rendered as 255, after `scale`, `offset` and `decibels`.")
    gsd_m: float = Field(
        gt=0,
        le=10_000,
        description="Ground sample distance at which imagery is read for the model, in metres.",
    )
    scale: float = Field(1.0, gt=0, description="Factor that stored values are multiplied by.")
    offset: float = Field(0.0, description="Constant added after `scale`.")
    offset_from_baseline: str = Field(
        "",
        pattern=rf"{_BASELINE}|^$",
        description="First processing baseline to which `offset` applies, such as 04.00. Default: every item.",
    )
    nodata: float | None = Field(
        None, description="Stored value that means no data, besides what the file itself marks as such."
    )
    gamma: float = Field(
        1.0, gt=0, le=10, description="Gamma of the rendering; above 1, dark ground becomes brighter."
    )
    clouds: _Clouds | None = Field(
        None,
        description="Mask of cloud, cirrus and shadow. Default: no mask, so every valid pixel counts as clear.",
    )
    spectral: _Spectral = Field(
        _Spectral(),
        description="Bands that spectral indices are computed from, as evidence beside the model: `ndwi` needs "
        "green and nir, `mndwi` green and swir1, `nbr` nir and swir2, `ndvi` nir and red. An item without their "
        "assets is used without evidence. Default: no evidence.",
    )
    decibels: bool = Field(
        False, description="Whether scaled values are converted to decibels, as usual for radar backscatter."
    )
    access: _Access | None = Field(
        None, description="How requests for assets are authorized. Default: assets are public."
    )
    rescan_days: float | None = Field(
        None,
        gt=0,
        le=_MAX_RESCAN_DAYS,
        description="For catalogs whose items have no `updated` time: each search covers acquisitions of so many "
        "days back from the last search of everything, which is daily. Default: the whole period.",
    )
    license: str = Field("", description="Licence of the imagery, shown in briefings.")
    attribution: str = Field("", description="Attribution of the imagery, shown in briefings.")
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        (),
        description="Hosts that assets may be read from, besides the catalog's own: data.example.org, "
        "data.example.org:8443 or *.example.org.",
    )
    finest_m: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Smallest accepted pixel size of files, in metres. Default: an eighth of `gsd_m`.",
    )
    coarsest_m: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Largest accepted pixel size of files, in metres. Default: twice `gsd_m`.",
    )
    max_saturated: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Largest share of clear values that rendering may clip to black or white; 1 = no limit.",
    )

    @model_validator(mode="after")
    def _pixel_limits_enclose_gsd(self) -> Self:
        if self.finest_m is not None and self.finest_m > self.gsd_m:
            raise ValueError(f"finest_m {self.finest_m} must not be greater than gsd_m {self.gsd_m}")
        if self.coarsest_m is not None and self.coarsest_m < self.gsd_m:
            raise ValueError(f"coarsest_m {self.coarsest_m} must not be less than gsd_m {self.gsd_m}")
        return self

    @model_validator(mode="after")
    def _high_exceeds_low(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high {self.high} must be greater than low {self.low}")
        return self


def list_names() -> list[str]:
    """List the names of the shipped profiles."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped() if file.name.endswith(".toml"))


def load(name_or_path: str) -> Profile:
    """Load a shipped profile by name, or a user's own by the path of its ``.toml`` file.

    Raises
    ------
    ProfileError
        The profile is unknown, or its file cannot be read or is invalid.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        return _parse(path.stem, _read(path), str(path))
    known = list_names()
    if name_or_path not in known:
        near = find_nearest(name_or_path, known)
        suggestion = f"did you mean {near}? " if near else ""
        shipped = ", ".join(known)
        raise ProfileError(
            f"unknown profile {name_or_path!r}; {suggestion}shipped: {shipped}; or give the path of a .toml file"
        )
    file = next(one for one in _shipped() if one.name == f"{name_or_path}.toml")
    return _parse(name_or_path, file.read_text(encoding="utf-8"), f"profile {name_or_path}")


def _shipped() -> list[Traversable]:
    return list((resources.files("segwatch.geo.sources") / "profiles_data").iterdir())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"profile {path} cannot be read: {error}") from error


def _parse(name: str, text: str, where: str) -> Profile:
    try:
        file = _ProfileFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise ProfileError(f"{where}:\n{describe_errors(error, model=_ProfileFile)}") from error
    except (ValueError, RecursionError) as error:  # numbers of any length and lists of any depth among them
        raise ProfileError(f"{where}: invalid TOML: {error}") from error
    rest = file.model_dump(exclude={"bands", "clouds", "hosts", "access", "spectral"})
    return Profile(
        name=name,
        red=file.bands.red.build(),
        green=file.bands.green.build(),
        blue=file.bands.blue.build(),
        clouds=_clouds(file.clouds),
        hosts=file.hosts,
        access=AssetAccess(**file.access.model_dump()) if file.access is not None else None,
        spectral=file.spectral.build(),
        **rest,
    )


def _clouds(part: _Clouds | None) -> CloudMask | None:
    if part is None:
        return None
    return CloudMask(part.build(), part.unclear_values, part.unclear_bits, part.invalid_values)
