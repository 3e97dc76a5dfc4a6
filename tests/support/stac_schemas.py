"""Check STAC documents with stac-validator, by schemas that are here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pystac
from stac_validator import stac_validator

from segwatch.flows.export.stac_items import LABEL, MLM, PROCESSING
from tests.support.paths import ROOT

_CORE = Path(pystac.__file__).parent / "validation" / "jsonschemas"
_OURS = ROOT / "tests" / "data" / "schemas"
_SPECIFICATION = "https://schemas.stacspec.org/v1.1.0"
#: Any classes: segwatch writes none.
_DIALECT = {"$schema": "http://json-schema.org/draft-07/schema#"}
_NO_CLASSES = _DIALECT | {
    "definitions": {"fields": {"properties": {"classification:classes": {"type": "array", "minItems": 1}}}}
}
_LABEL = _DIALECT | {
    "properties": {
        "properties": {
            "required": ["label:properties", "label:description", "label:type"],
            "properties": {"label:type": {"enum": ["raster", "vector"]}},
        }
    }
}


def make_checker(folder: Path) -> Checker:
    """Make a checker whose mended schemas lie in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mlm = (_OURS / "mlm-v1.4.0.json").read_text(encoding="utf-8").replace("v1.4.0", "v1.5.0")
    made = {MLM: mlm, LABEL: json.dumps(_LABEL)}
    made["https://stac-extensions.github.io/classification/v1.1.0/schema.json"] = json.dumps(_NO_CLASSES)
    schemas = {
        PROCESSING: _OURS / "processing-v1.1.0.json",
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json": _OURS / "raster-v1.1.0.json",
    }
    for number, (url, text) in enumerate(made.items()):
        schemas[url] = folder / f"{number}.json"
        schemas[url].write_text(text, encoding="utf-8")
    for path in (_CORE / "stac-spec" / "v1.1.0").glob("*.json"):
        own = path.stem if path.stem in {"catalog", "collection"} else "item"
        schemas[f"{_SPECIFICATION}/{own}-spec/json-schema/{path.name}"] = path
    for path in (_CORE / "geojson").glob("*.json"):
        schemas[f"https://geojson.org/schema/{path.name}"] = path
    return Checker({url: str(path) for url, path in schemas.items()})


class Checker:
    """Checks documents."""

    def __init__(self, schemas: Mapping[str, str]) -> None:
        self._schemas = schemas

    def check(self, document: dict[str, Any]) -> None:
        """Check a catalog, collection or item, with the extensions that it names."""
        validator = stac_validator.StacValidate(schema_map=dict(self._schemas))
        assert validator.validate_dict(document), validator.message
        (message,) = validator.message
        named = {self._schemas[one] for one in document.get("stac_extensions", [])}
        assert named <= set(message["schema"]), message
