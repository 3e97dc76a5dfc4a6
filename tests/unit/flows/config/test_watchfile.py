"""Watch files are validated once, with messages that name the file, the field, the value and the fix."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from segwatch.db.codec import dump_watch, load_watch
from segwatch.flows.config import watchfile
from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.identity import identify_watch_catalog
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertStatus, Digest, Escalation, QuietHours
from tests.support.paths import ROOT

BASE = Path()


def document(**changes: Any) -> dict[str, Any]:
    """A minimal valid watch file with some fields replaced."""
    return {
        "version": 1,
        "name": "lake",
        "instruction": "segment the water",
        "area": {"bbox": [10.0, 45.0, 10.1, 45.1]},
        "source": {"profile": "rgb-cog", "catalog": "https://stac.example.org/v1/"},
        "start": "2020-01-01T00:00:00+02:00",
    } | changes


def test_a_minimal_file_gets_the_documented_defaults() -> None:
    watch = watchfile.parse(document(), base=BASE, name="lake.yaml")
    assert watch.start == datetime(2019, 12, 31, 22, tzinfo=UTC)
    assert watch.catalog == "https://stac.example.org/v1"
    assert watch.tracking.tolerance_m == watch.profile.gsd_m
    assert watch.tracking.gone_after == 2
    assert watch.area.bounds == (10.0, 45.0, 10.1, 45.1)


FIJI = (179.8, -17.0, -179.8, -16.8)
ACROSS = [[179.8, -17.0], [-179.8, -17.0], [-179.8, -16.8], [179.8, -16.8], [179.8, -17.0]]
BEYOND = [[lon % 360, lat] for lon, lat in ACROSS]


@pytest.mark.parametrize(
    "area",
    [
        {"bbox": list(FIJI)},
        {"bbox": [179.8, -17.0, 180.2, -16.8]},
        {"bbox": [-180.2, -17.0, -179.8, -16.8]},
        {"geojson": {"type": "Polygon", "coordinates": [ACROSS]}},
        {"geojson": {"type": "Polygon", "coordinates": [BEYOND]}},
        {"geojson": {"type": "Polygon", "coordinates": [[[lon - 360, lat] for lon, lat in BEYOND]]}},
        {"geojson": mapping(box(179.8, -17, 180, -16.8).union(box(-180, -17, -179.8, -16.8)))},
        {"file": "fiji.geojson"},
    ],
)
def test_an_area_across_180_degrees_in_every_form(tmp_path: Path, area: dict[str, Any]) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [BEYOND]}}
    (tmp_path / "fiji.geojson").write_text(json.dumps(feature), encoding="utf-8")
    near = [{"name": "near", "near": area}]
    watch = watchfile.parse(document(area=area, rules=near), base=tmp_path, name="fiji.yaml")
    (rule,) = watch.rules
    for ground in (watch.area, rule.region):
        assert ground is not None
        assert compute_bounds(ground) == pytest.approx(FIJI)
        assert ground.area == pytest.approx(0.08)
    assert load_watch(dump_watch(watch)) == watch


@pytest.mark.parametrize(
    "area",
    [
        {"bbox": [180, -17, -180, -16]},
        {"bbox": [500, -17, 501, -16]},
        {
            "geojson": {
                "type": "Polygon",
                "coordinates": [[[4e5, 5e6], [4.1e5, 5e6], [4.1e5, 5.1e6], [4e5, 5e6]]],
            }
        },
    ],
)
def test_numbers_that_are_no_degrees_are_refused(area: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="degrees"):
        watchfile.parse(document(area=area), base=BASE, name="fiji.yaml")


def test_a_ring_that_crosses_itself_beyond_180_degrees_is_refused() -> None:
    bow = [[179.8, -17.0], [-179.8, -16.8], [-179.8, -17.0], [179.8, -16.8], [179.8, -17.0]]
    with pytest.raises(ConfigError, match="crosses itself"):
        watchfile.parse(
            document(area={"geojson": {"type": "Polygon", "coordinates": [bow]}}), base=BASE, name="fiji.yaml"
        )


def test_rules_keep_their_kinds() -> None:
    rules = [{"name": "loss", "kinds": ["shrank", "disappeared"], "channels": ["https://hook.example.org/x"]}]
    watch = watchfile.parse(document(rules=rules), base=BASE, name="lake.yaml")
    assert watch.rules[0].kinds == (ChangeKind.SHRANK, ChangeKind.DISAPPEARED)


def test_a_rule_says_everything_that_rules_can_say() -> None:
    rule = {
        "name": "near the dam",
        "near": {"bbox": [10.0, 45.0, 10.01, 45.01], "distance_m": 250},
        "min_growth": 0.2,
        "once": True,
        "channels": ["apprise:duty"],
        "quiet": {"begin": "22:00", "end": "06:00", "timezone": "Europe/Paris"},
        "most_per_hour": 20,
        "escalate": {"after_minutes": 30, "channels": ["apprise:boss"]},
    }
    (made,) = watchfile.parse(document(rules=[rule]), base=BASE, name="lake.yaml").rules
    assert made.region is not None
    assert made.region.bounds == (10.0, 45.0, 10.01, 45.01)
    assert (made.region_distance_m, made.min_growth, made.once, made.most_per_hour) == (250, 0.2, True, 20)
    assert (made.quiet, made.escalation) == (
        QuietHours("22:00", "06:00", "Europe/Paris"),
        Escalation(30, ("apprise:boss",)),
    )
    assert made.channels == ("apprise:duty",)


@pytest.mark.parametrize(
    ("said", "status", "confidence"),
    [
        ({}, AlertStatus.CONFIRMED, 0.8),
        ({"confidence": 0.94}, AlertStatus.CONFIRMED, 0.94),
        ({"status": "confirmed", "confidence": 0}, AlertStatus.CONFIRMED, 0.0),
        ({"status": "provisional"}, AlertStatus.PROVISIONAL, 0.0),
        ({"status": "provisional", "confidence": 0.5}, AlertStatus.PROVISIONAL, 0.5),
    ],
)
def test_a_rule_chooses_how_sure_an_alert_must_be(
    said: dict[str, object], status: AlertStatus, confidence: float
) -> None:
    rules = document(rules=[{"name": "r", **said}])
    (made,) = watchfile.parse(rules, base=BASE, name="lake.yaml").rules
    assert (made.status, made.confidence) == (status, confidence)
    jsonschema.validate(rules, watchfile.json_schema())


def test_a_rule_stored_before_rules_had_a_status_alerts_on_the_first_evidence() -> None:
    watch = watchfile.parse(document(rules=[{"name": "r"}]), base=BASE, name="lake.yaml")
    stored = dump_watch(watch)
    for name in ("status", "confidence"):
        del stored["rules"][0][name]
    (rule,) = load_watch(stored).rules
    assert (rule.status, rule.confidence) == (AlertStatus.PROVISIONAL, 0.0)


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"rules": [{"name": "r", "confidence": 0.95}]}, "rules.0.confidence", "0.94"),
        ({"rules": [{"name": "r", "status": "refuted"}]}, "rules.0.status", "provisional"),
        ({"instrution": "typo"}, "instrution", "instruction"),
        (
            {"area": {"bbox": [8.0, 45.0, 15.2, 45.1]}},
            "area",
            "km on a side, at most 500 km are possible; cut it",
        ),
        (
            {"rules": [{"name": "r", "quiet": {"begin": "25:00", "end": "06:00"}}]},
            "rules.0.quiet.begin",
            "25:00",
        ),
        ({"rules": [{"name": "r", "quiet": {"begin": "22:00", "end": "22:00"}}]}, "rules.0.quiet", "same"),
        (
            {"rules": [{"name": "r", "quiet": {"begin": "22:00", "end": "06:00", "timezone": "Mars"}}]},
            "rules.0.quiet.timezone",
            "Europe/Paris",
        ),
        ({"rules": [{"name": "r", "near": {"distance_m": 5}}]}, "rules.r.near", "exactly one"),
        ({"rules": [{"name": "r", "channels": ["ftp://x.example"]}]}, "rules.0.channels", "apprise:NAME"),
        (
            {"rules": [{"name": "r", "escalate": {"after_minutes": 5, "channels": ["apprise:boss"]}}]},
            "rules.0",
            "no channels of its own",
        ),
        ({"rules": [{"name": "r", "digest": "7 o'clock"}]}, "rules.0.digest.at", 'got "7 o\'clock"'),
        ({"rules": [{"name": "r", "digest": 720}]}, "rules.0.digest", "in quotes"),
        ({"rules": [{"name": "r", "digest": {"every": "hour"}}]}, "rules.0.digest", "hourly"),
        (
            {"rules": [{"name": "r", "digest": {"at": "07:00", "timezone": "Mars"}}]},
            "rules.0.digest.timezone",
            "Europe/Paris",
        ),
        (
            {"rules": [{"name": "r", "digest": "hourly", "most_per_hour": 2}]},
            "rules.0",
            "a digest is one message",
        ),
        ({"schedule": "hourly"}, "schedule", "got 'hourly'"),
        ({"schedule": "0 25 * * *"}, "schedule", 'as "0 6 * * *"'),
        ({"schedule": "H * * * *"}, "schedule", "not a cron expression"),
        ({"schedule": "0 0 31 2 *"}, "schedule", "never fires"),
        ({"schedule": "* * * * * *"}, "schedule", "five fields"),
        (
            {"schedule": "0 6 1 12 *", "end": "2020-06-01T00:00:00Z"},
            "schedule",
            "write one that fires more often",
        ),
        ({"start": "0001-01-01T00:00:00+02:00"}, "start", "beyond the calendar"),
        ({"start": "1019-01-01T00:00:00Z"}, "start", "correct the year"),
        ({"start": "2919-01-01T00:00:00Z"}, "start", "correct the year"),
        ({"end": "9999-12-31T23:00:00-05:00"}, "end", "beyond the calendar"),
        ({"rules": [{"name": "r", "quiet": {"begin": 1320, "end": "06:00"}}]}, "begin", 'write "22:00"'),
        ({"rules": [{"name": "r", "quiet": {"begin": "22:00", "end": "24:00"}}]}, "end", '"00:00"'),
        (
            {"rules": [{"name": "r", "digest": {"at": "07:00", "timezone": "paris"}}]},
            "rules.0.digest.timezone",
            "Europe/Paris",
        ),
        (
            {"rules": [{"name": "r", "digest": {"at": "07:00", "timezone": "Factory"}}]},
            "rules.0.digest.timezone",
            "not a time zone",
        ),
        (
            {
                "rules": [
                    {
                        "name": "r",
                        "channels": ["apprise:duty"],
                        "escalate": {"after_minutes": 1e9, "channels": ["apprise:boss"]},
                    }
                ]
            },
            "rules.0.escalate.after_minutes",
            "43200",
        ),
        ({"tracking": {"gone_aftr": 2}}, "tracking.gone_aftr", "did you mean gone_after?"),
        ({"rules": [{"name": "r", "chanels": []}]}, "rules.0.chanels", "did you mean channels?"),
        ({"Schedule": "0 6 * * *"}, "Schedule", "did you mean schedule?"),
        ({"min-polygon-m2": 5}, "min-polygon-m2", "did you mean min_polygon_m2?"),
        (
            {"rules": [{"name": "r", "quiet": {"start": "22:00", "end": "06:00"}}]},
            "rules.0.quiet.start",
            "known here: begin, end, timezone",
        ),
        ({"source": {"profile": "rgb_cogs"}}, "source.profile", "did you mean rgb-cog?"),
        ({"name": "Bad Name"}, "name", "Bad Name"),
        ({"start": "2020-01-01T00:00:00"}, "start", "time zone"),
        ({"end": "2019-01-01T00:00:00Z"}, "end", "not after start"),
        ({"area": {"bbox": [45.0, 100.0, 46.0, 101.0]}}, "area.bbox", "degrees"),
        ({"area": {}}, "area", "exactly one"),
        ({"area": {"geojson": {"type": "Point", "coordinates": [1, 2]}}}, "area", "Polygon"),
        ({"area": {"file": "no-such.geojson"}}, "area.file", "no-such.geojson"),
        ({"area": {"file": "."}}, "area.file", "cannot be read: Is a directory"),
        (
            {"area": {"geojson": {"type": "FeatureCollection", "features": [1]}}},
            "area.geojson",
            "not a GeoJSON",
        ),
        (
            {"area": {"geojson": {"type": "FeatureCollection", "features": []}}},
            "area.geojson",
            "exactly one feature",
        ),
        ({"area": {"geojson": {"type": "Feature", "geometry": None}}}, "area.geojson", "not a GeoJSON"),
        (
            {
                "area": {
                    "geojson": {"type": "Polygon", "coordinates": [[[10**400, 45], [1, 1], [2, 2], [1, 1]]]}
                }
            },
            "area.geojson",
            "not a GeoJSON geometry (int too large",
        ),
        ({"area": {"bbox": [float("nan"), 45.0, 10.1, 45.1]}}, "area.bbox.0", "finite"),
        ({"min_polygon_m2": float("inf")}, "min_polygon_m2", "finite"),
        ({"instruction": "segment \0 the water"}, "instruction", r"'segment \x00 the water'); take it out"),
        ({"targets": ["water", "\ud800"]}, "targets.1", r"'\ud800'"),
        ({"rules": [{"name": "r\0"}]}, "rules.0.name", r"'r\x00'"),
        ({"rules": [{"name": "r", "channels": ["https://x.example/\0"]}]}, "rules.0.channels.0", r"/\x00'"),
        ({"source": {"profile": "no-such-profile"}}, "source.profile", "no-such-profile"),
        ({"source": {"profile": "rgb-cog"}}, "source.catalog", "catalog"),
        ({"source": {"profile": "rgb-cog", "catalog": "file:///etc/passwd"}}, "source.catalog", "http"),
        ({"source": {"profile": "rgb-cog", "catalog": "${UNSET_HERE}"}}, "source.catalog", "UNSET_HERE"),
        ({"version": 2}, "version", "later segwatch"),
        ({"max_cloud_cover": 80}, "max_cloud_cover", "80"),
        ({"rules": [{"name": "x", "kinds": ["exploded"]}]}, "rules.0.kinds.0", "appeared"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(changes: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        watchfile.parse(document(**changes), base=BASE, name="lake.yaml")
    message = str(caught.value)
    assert "lake.yaml" in message
    assert field in message
    assert hint in message
    assert "Value error" not in message
    assert ("fields: area, " in message) == (
        len(changes) == 1 and "is not a known field" in message and "." not in field
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("hourly", Digest()),
        ("07:00", Digest("07:00")),
        ({"at": "07:00", "timezone": "Europe/Paris"}, Digest("07:00", "Europe/Paris")),
    ],
)
def test_a_rule_may_collect_its_alerts(said: object, meant: Digest) -> None:
    watch = watchfile.parse(document(rules=[{"name": "r", "digest": said}]), base=BASE, name="lake.yaml")
    assert watch.rules[0].digest == meant
    assert load_watch(dump_watch(watch)) == watch


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("start: 2024-02-30T00:00:00Z", ("start: ", "got '2024-02-30T00:00:00Z'")),
        ("start: 2024-01-01T00:00:00+99:00", ("start: ", "got '2024-01-01T00:00:00+99:00'")),
        ("priority: !!int many", ("cannot be read as YAML", "many")),
        ("priority: !!timestamp many", ("cannot be read as YAML",)),
        ("priority: " + "[" * 5000, ("cannot be read as YAML", "nested more than")),
        ("instruction: caf\xe9 \xff", ("not UTF-8 text",)),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "lake.yaml"
    kept = {key: one for key, one in document().items() if key != line.partition(":")[0]}
    file.write_bytes(f"{yaml.safe_dump(kept)}{line}\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        watchfile.load(file)
    for word in (str(file), *words):
        assert word in str(caught.value)


def test_dates_are_read_as_yaml_has_them(tmp_path: Path) -> None:
    file = tmp_path / "lake.yaml"
    file.write_text(yaml.safe_dump(document() | {"start": "X"}).replace("X", "2024-1-1 2:00:00 +2"))
    assert watchfile.load(file).start == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("indent", ["\t", 2, None])
def test_an_area_may_be_a_file_of_geojson_however_it_is_written(
    tmp_path: Path, indent: str | int | None
) -> None:
    area = box(10.0, 45.0, 10.1, 45.1)
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(area)}
    collection = {"type": "FeatureCollection", "features": [feature]}
    for one in (collection, feature, mapping(area)):
        (tmp_path / "area.geojson").write_text(json.dumps(one, indent=indent), encoding="utf-8-sig")
        watch = watchfile.parse(document(area={"file": "area.geojson"}), base=tmp_path, name="lake.yaml")
        assert watch.area.equals(area)


def test_addresses_of_channels_stay_as_they_are_written() -> None:
    told = (
        "https://hooks.example.org/segwatch/",
        "https://hooks.example.org/x?sig=abc/",
        "https://x.example",
    )
    escalate = {"after_minutes": 5, "channels": list(told)}
    rule = {"name": "r", "channels": list(told), "escalate": escalate}
    (made,) = watchfile.parse(document(rules=[rule]), base=BASE, name="lake.yaml").rules
    assert made.channels == told
    assert made.escalation == Escalation(5, told)


def test_a_box_across_the_antimeridian_becomes_two_parts() -> None:
    watch = watchfile.parse(
        document(area={"bbox": [179.5, -17.0, -179.5, -16.0]}), base=BASE, name="fiji.yaml"
    )
    assert watch.area.geom_type == "MultiPolygon"
    assert watch.area.area == pytest.approx(1.0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_other_document_is_refused_with_the_file_name(value: object) -> None:
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        watchfile.parse(value, base=BASE, name="odd.yaml")


def test_environment_variables_fill_urls_only_when_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_CATALOG", "http://127.0.0.1:9/stac")
    watch = watchfile.parse(
        document(source={"profile": "rgb-cog", "catalog": "${MY_CATALOG}"}), base=BASE, name="lake.yaml"
    )
    assert watch.catalog == "http://127.0.0.1:9/stac"


def test_the_demo_watches_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_STAC_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SEGWATCH_RECEIVER_URL", "http://127.0.0.1:2")
    folder = ROOT / "demo" / "watches"
    assert {watch.name for watch in watchfile.load_all(folder)} == {"slovenia-forest", "cottonwood-water"}


def test_a_catalog_may_have_a_name_that_outlasts_its_address() -> None:
    source = {"profile": "rgb-cog", "catalog": "https://Stac.example.org:443/v1/", "catalog_name": "ours"}
    named = watchfile.parse(document(source=source), base=BASE, name="lake.yaml")
    assert identify_watch_catalog(named) == "ours"
    assert load_watch(dump_watch(named)).catalog_name == "ours"
    del source["catalog_name"]
    plain = watchfile.parse(document(source=source), base=BASE, name="lake.yaml")
    assert identify_watch_catalog(plain) == "https://stac.example.org/v1"
    # definitions from before catalogs had names
    old = dump_watch(plain)
    del old["catalog_name"]
    assert identify_watch_catalog(load_watch(old)) == identify_watch_catalog(plain)
    for wrong in ("https://stac.example.org", "Two Words"):
        with pytest.raises(ConfigError, match=r"source\.catalog_name"):
            watchfile.parse(document(source=source | {"catalog_name": wrong}), base=BASE, name="lake.yaml")


def test_the_json_schema_describes_every_field_and_accepts_the_demo() -> None:
    schema = watchfile.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name
    files = sorted((ROOT / "demo" / "watches").glob("*.yaml"))
    assert files
    for file in files:
        jsonschema.validate(json.loads(json.dumps(yaml.safe_load(file.read_text()), default=str)), schema)


@pytest.mark.parametrize("digest", ["hourly", "07:00", {"at": "07:00", "timezone": "Europe/Paris"}])
def test_the_json_schema_accepts_every_form_of_a_digest(digest: object) -> None:
    rule = {"name": "r", "channels": ["apprise:duty"], "digest": digest}
    jsonschema.validate(document(rules=[rule]), watchfile.json_schema())
    with pytest.raises(jsonschema.ValidationError, match="hourly"):
        jsonschema.validate(document(schedul="hourly"), watchfile.json_schema())
