"""Read the GeoJSON of AOIs that people draw; see docs/adr/0012-own-geojson-checks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import is_in_degrees, is_valid_geometry, split_at_antimeridian
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import TooComplex

#: Enough for the geometry of one object.
_MAX_BYTES = 16 * 2**20


def read_geometry_file(path: Path) -> BaseGeometry:
    """Read the geometry of a GeoJSON file, in EPSG:4326, split at the antimeridian.

    Raises
    ------
    ConfigError
        The file cannot be read, is too large, or does not hold exactly one geometry.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(
                f"{path} is larger than {_MAX_BYTES // 2**20} MiB; give the geometry of one object"
            )
        document = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TooComplex) as error:
        raise ConfigError(f"{path} is not GeoJSON: {error}") from error
    return parse_geometry(document, str(path))


def parse_geometry(document: Any, where: str) -> BaseGeometry:
    """Convert a parsed geometry, feature, or collection of one feature; split it at the antimeridian.

    Raises
    ------
    ConfigError
        The document is something else; the message begins with ``where``.
    """
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise ConfigError(f"{where}: give exactly one feature")
        (document,) = features
    if isinstance(document, dict) and document.get("type") == "Feature":
        document = document.get("geometry")
    try:
        geometry = read_geometry(document)
        operations.check(geometry)
        return _split(geometry, where)
    except TooComplex as error:
        raise ConfigError(f"{where}: {error}; simplify it") from error
    except MALFORMED as error:
        raise ConfigError(f"{where}: not a GeoJSON geometry ({error})") from error


def _split(geometry: BaseGeometry, where: str) -> BaseGeometry:
    """Split at the antimeridian; longitudes may exceed 180, as drawing tools write them there."""
    if (
        not is_in_degrees(geometry, max_longitude=360.0)
        or not np.isfinite(shapely.get_coordinates(geometry)).all()
    ):
        return geometry  # not degrees: the caller says what is wrong
    parts = split_at_antimeridian(geometry)
    if parts is not geometry and not is_valid_geometry(geometry):
        raise ConfigError(f"{where}: the geometry crosses itself beyond 180 degrees; repair it")
    return parts
