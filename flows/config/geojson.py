"""Outlines drawn by people: GeoJSON geometries and features as shapely polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import in_degrees, is_valid, split
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import TooComplex

#: Larger files are no outline of one object.
_MOST_BYTES = 16 * 2**20


def from_file(path: Path) -> BaseGeometry:
    """The outline in a GeoJSON file.

    Raises
    ------
    ConfigError
        The file cannot be read, is too large, or holds something else.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                f"{path} is larger than {_MOST_BYTES // 2**20} MiB; give the outline of one object"
            )
        document = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TooComplex) as error:
        raise ConfigError(f"{path} is no GeoJSON: {error}") from error
    return from_geojson(document, str(path))


def from_geojson(document: Any, where: str) -> BaseGeometry:
    """A GeoJSON geometry, feature, or collection of one feature, split at the antimeridian.

    Raises
    ------
    ConfigError
        It is something else; the message begins with ``where``.
    """
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or len(features) != 1:
            raise ConfigError(f"{where}: give one feature, the outline of one object")
        (document,) = features
    if isinstance(document, dict) and document.get("type") == "Feature":
        document = document.get("geometry")
    try:
        outline = read_geometry(document)
        operations.check(outline)
        return _split(outline, where)
    except TooComplex as error:
        raise ConfigError(f"{where}: {error}; simplify it") from error
    except MALFORMED as error:
        raise ConfigError(f"{where}: no GeoJSON geometry ({error})") from error


def _split(outline: BaseGeometry, where: str) -> BaseGeometry:
    """Split at the antimeridian; longitudes may go on beyond 180, as those of people who draw there do."""
    if (
        not in_degrees(outline, max_longitude=360.0)
        or not np.isfinite(shapely.get_coordinates(outline)).all()
    ):
        return outline  # whoever asked for it says what it should be
    ground = split(outline)
    if ground is not outline and not is_valid(outline):
        raise ConfigError(
            f"{where}: the outline crosses itself where it goes on beyond 180 degrees; repair it"
        )
    return ground
