"""Symbols of QGIS layers: colour says what changed, the outline how certain it is."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

from segwatch.flows.export.palette import CHANGE_COLOURS, FOOTPRINT_COLOUR, UNCHANGED_COLOUR

_Colour = tuple[int, int, int]


def add_element(parent: Element, name: str, text: str) -> Element:
    """Add an element that holds a text."""
    made = SubElement(parent, name)
    made.text = text
    return made


def add_change_renderer(layer: Element, column: str) -> None:
    """Add rules by kind of change and status: provisional dashed, refuted dotted and faint, disappeared hatched.

    ``column`` names the kind of change; null = unchanged since the ground was first observed.
    """
    renderer = SubElement(
        layer, "renderer-v2", {"type": "RuleRenderer", "symbollevels": "0", "enableorderby": "0"}
    )
    rules = SubElement(renderer, "rules", {"key": "all"})
    symbols = SubElement(renderer, "symbols")
    kinds: list[tuple[str, str, _Colour]] = [
        (kind, f"\"{column}\" = '{kind}'", colour) for kind, colour in CHANGE_COLOURS.items()
    ]
    kinds.append(("as first observed", f'"{column}" IS NULL', UNCHANGED_COLOUR))
    statuses = {
        "": "coalesce(\"status\", 'confirmed') = 'confirmed'",
        ", provisional": "\"status\" = 'provisional'",
        ", refuted": "\"status\" = 'refuted'",
    }
    for kind, condition, colour in kinds:
        for suffix, status in statuses.items():
            number = str(len(symbols))
            SubElement(
                rules,
                "rule",
                {
                    "key": f"rule-{number}",
                    "symbol": number,
                    "label": kind + suffix,
                    "filter": f"{condition} AND {status}",
                },
            )
            _add_symbol(symbols, number, _describe_fill(kind, colour, suffix))


def add_footprint_renderer(layer: Element) -> None:
    """Add one grey outline without fill."""
    renderer = SubElement(
        layer, "renderer-v2", {"type": "singleSymbol", "symbollevels": "0", "enableorderby": "0"}
    )
    fill = _describe_fill("", FOOTPRINT_COLOUR, "") | {"style": "no"}
    _add_symbol(SubElement(renderer, "symbols"), "0", fill)


def _describe_fill(kind: str, colour: _Colour, suffix: str) -> dict[str, str]:
    alpha = {"": 110, ", provisional": 60, ", refuted": 0}[suffix]
    return {
        "color": _write_colour(colour, 255 if kind == "disappeared" and alpha else alpha),
        "style": "b_diagonal" if kind == "disappeared" and alpha else "solid",
        "outline_color": _write_colour(colour, 255 if alpha else 120),
        "outline_style": {"": "solid", ", provisional": "dash", ", refuted": "dot"}[suffix],
        "outline_width": "0.5",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
        "offset": "0,0",
        "offset_unit": "MM",
    }


def _add_symbol(symbols: Element, name: str, properties: Mapping[str, str]) -> None:
    symbol = SubElement(
        symbols,
        "symbol",
        {"type": "fill", "name": name, "alpha": "1", "clip_to_extent": "1", "force_rhr": "0"},
    )
    layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    options = SubElement(layer, "Option", {"type": "Map"})
    for key, value in properties.items():
        SubElement(options, "Option", {"type": "QString", "name": key, "value": value})


def _write_colour(colour: _Colour, alpha: int) -> str:
    return ",".join(map(str, (*colour, alpha)))
