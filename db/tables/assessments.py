"""Accuracy assessments: samples, the labels that people gave them, and calibrations of the confidence."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from segwatch.db.tables.columns import SCHEMA, geometry, identity, metadata, reference, string, time

assessment = Table(
    "assessment",
    metadata,
    identity(),
    reference("series_id", "series"),
    #: from 1 on within a series; the newest one with labels counts
    Column("ordinal", Integer, nullable=False),
    #: the same seed draws the same sample from the same ledger
    Column("seed", BigInteger, nullable=False),
    time("drawn_at"),
    UniqueConstraint("series_id", "ordinal", name="assessment_identity"),
)

assessment_stratum = Table(
    "assessment_stratum",
    metadata,
    reference("assessment_id", "assessment", primary_key=True),
    Column("target", Text, primary_key=True),
    #: mapped, background, object, or a kind of change
    Column("stratum", Text, primary_key=True),
    string("unit"),
    #: units in the population: pixels, objects or changes
    Column("size", Double, nullable=False),
    Column("area_m2", Double, nullable=False),
    CheckConstraint("unit IN ('point', 'object', 'change')", name="assessment_stratum_unit"),
)

assessment_sample = Table(
    "assessment_sample",
    metadata,
    identity(),
    reference("assessment_id", "assessment"),
    #: random order of labelling, from 1 on
    Column("ordinal", Integer, nullable=False),
    string("target"),
    string("stratum"),
    #: inclusion probability of the unit
    Column("probability", Double, nullable=False),
    #: the point that is judged
    geometry(),
    reference("track_id", "track", nullable=True),
    reference("change_id", "change", nullable=True),
    #: raw confidence when the sample was drawn
    Column("confidence", Double),
    #: scenes of the two pictures; no earlier one where the ground was observed once
    reference("before_scene", "scene", nullable=True),
    reference("after_scene", "scene"),
    #: labels that agree with the map
    Column("agreeing", ARRAY(Text), nullable=False),
    UniqueConstraint("assessment_id", "ordinal", name="assessment_sample_identity"),
    CheckConstraint("probability > 0 AND probability <= 1", name="assessment_sample_probability"),
    ForeignKeyConstraint(
        ["assessment_id", "target", "stratum"],
        [f"{SCHEMA}.assessment_stratum.{name}" for name in ("assessment_id", "target", "stratum")],
        name="assessment_sample_stratum_fk",
    ),
    Index("assessment_sample_geom_ix", "geom", postgresql_using="gist"),
)

#: Labels are only ever added; the last one of a sample counts.
assessment_label = Table(
    "assessment_label",
    metadata,
    reference("sample_id", "assessment_sample", primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    string("label"),
    string("labeller"),
    time("labelled_at", now=True),
    CheckConstraint(
        "label IN ('both', 'after', 'before', 'neither', 'unclear')", name="assessment_label_known"
    ),
)

#: Estimates from the labels of an assessment so far, stored with the last label, so that views can show them.
target_accuracy = Table(
    "target_accuracy",
    metadata,
    reference("assessment_id", "assessment", primary_key=True),
    Column("target", Text, primary_key=True),
    Column("labels", Integer, nullable=False),
    #: the accuracy in words, as it stands beside every area
    string("words"),
    #: value, low and high of each estimate
    Column("estimates", JSONB, nullable=False),
)

#: Versions of the calibration of a series' confidence; the newest one of a target and subject is shown.
calibration = Table(
    "calibration",
    metadata,
    reference("series_id", "series", primary_key=True),
    Column("target", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    time("fitted_at", now=True),
    Column("labels", Integer, nullable=False),
    #: knots of the piecewise linear function, ascending
    Column("raw", ARRAY(Double), nullable=False),
    Column("calibrated", ARRAY(Double), nullable=False),
    Column("bins_before", JSONB, nullable=False),
    Column("bins_after", JSONB, nullable=False),
    Column("error_before", Double, nullable=False),
    Column("error_after", Double, nullable=False),
    CheckConstraint("subject IN ('object', 'change')", name="calibration_subject"),
)
