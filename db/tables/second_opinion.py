"""Second opinions: spectral indices of observations and changes, and comparisons with shadow segmenters."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from segwatch.db.tables.columns import geometry, metadata, reference, string, time

#: Spectral indices of an observation over square cells, see segwatch.geo.types.evidence.IndexCells.
index_cells = Table(
    "index_cells",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    string("crs"),
    Column("cell_m", Double, nullable=False),
    Column("west", Double, nullable=False),
    Column("north", Double, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("names", ARRAY(Text), nullable=False),
    Column("values", LargeBinary, nullable=False),
)

#: Spectral evidence of a change, derived from the observations like the change itself.
change_evidence = Table(
    "change_evidence",
    metadata,
    reference("change_id", "change", primary_key=True),
    #: the observation before that saw the place clearly
    reference("before_id", "observation", nullable=True),
    #: see segwatch.geo.types.evidence.ChangeEvidence.to_json
    Column("evidence", JSONB, nullable=False),
)

shadow_result = Table(
    "shadow_result",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    #: name and version of the shadow segmenter
    string("version"),
    #: what could not be compared, and why; null = everything was
    string("reason", nullable=True),
    time("recorded_at", now=True),
    #: share of the watch's scenes that the shadow was run on
    Column("share", Double, nullable=False, server_default=text("1")),
)

shadow_agreement = Table(
    "shadow_agreement",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    Column("target", Text, primary_key=True),
    Column("both_m2", Double, nullable=False),
    Column("only_primary_m2", Double, nullable=False),
    Column("only_shadow_m2", Double, nullable=False),
    Column("primary_count", Integer, nullable=False),
    Column("shadow_count", Integer, nullable=False),
    #: what a switch would lose, gain and change; null = compared before this was counted
    Column("lost_count", Integer),
    Column("gained_count", Integer),
    Column("changed_count", Integer),
)

#: How probable the segmenter found each target to be in an observation at all; see segwatch.geo.types.evidence.
target_presence = Table(
    "target_presence",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    Column("target", Text, primary_key=True),
    Column("presence", Double, nullable=False),
    Column("tiles", Integer, nullable=False),
    Column("tiles_present", Integer, nullable=False),
)

#: The largest places where only one segmenter found the target.
shadow_difference = Table(
    "shadow_difference",
    metadata,
    reference("observation_id", "observation", primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    string("target"),
    string("found_by"),
    geometry(),
    Column("area_m2", Double, nullable=False),
    Index("shadow_difference_geom_ix", "geom", postgresql_using="gist"),
)
