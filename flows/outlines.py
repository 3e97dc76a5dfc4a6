"""Outlines drawn by people: GeoJSON geometries and features as shapely polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import in_degrees, is_valid, split

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
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
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
        outline: BaseGeometry = shapely.force_2d(shape(document))
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        shapely.errors.ShapelyError,
    ) as error:
        raise ConfigError(f"{where}: no GeoJSON geometry ({error})") from error
    return _split(outline, where)


def _split(outline: BaseGeometry, where: str) -> BaseGeometry:
    """Split at the antimeridian; longitudes may go on beyond 180, as those of people who draw there do."""
    if (
        not in_degrees(outline, most_longitude=360.0)
        or not np.isfinite(shapely.get_coordinates(outline)).all()
    ):
        return outline  # whoever asked for it says what it should be
    ground = split(outline)
    if ground is not outline and not is_valid(outline):
        raise ConfigError(
            f"{where}: the outline crosses itself where it goes on beyond 180 degrees; repair it"
        )
    return ground
