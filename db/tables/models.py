"""Models: switches of watches between them, and how much their masks depend on the words of an instruction."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from segwatch.db.tables.columns import metadata, reference, string, time

#: The last switch of a watch that was not undone is in force; without one, the model of the settings is.
model_switch = Table(
    "model_switch",
    metadata,
    Column("watch_name", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    #: of the model that was switched to, as every worker reaches it
    string("folder"),
    string("model_version"),
    string("from_version"),
    string("switched_by"),
    time("switched_at", now=True),
    string("undone_by", nullable=True),
    time("undone_at", nullable=True),
    CheckConstraint("(undone_by IS NULL) = (undone_at IS NULL)", name="model_switch_undone"),
)

#: Agreement of a model's masks over rewordings of an instruction, on the newest clear scene of a watch.
rewording = Table(
    "rewording",
    metadata,
    reference("instruction_id", "instruction", primary_key=True),
    Column("model_version", Text, primary_key=True),
    Column("watch_name", Text, primary_key=True),
    reference("scene_id", "scene"),
    Column("wordings", ARRAY(Text), nullable=False),
    Column("tiles", Integer, nullable=False),
    #: mean IoU with the masks of the instruction's own words; null = nothing was marked
    Column("agreement", Double),
    #: the same by target
    Column("by_target", JSONB, nullable=False),
    time("measured_at", now=True),
)
