"""Key and time of each view of schema ``watch``, for programs that ask for them: QGIS, OGC API, copies into tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FormerKey:
    """Ids that features of the OGC API had before: ``COLUMN~CHECKSUM``, an MD5 over other columns."""

    column: str
    checked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewKey:
    """What identifies a row of a view, and when it holds."""

    column: str
    """Unique, never null, and the same as long as the row is: uuid or text."""
    begin: str | None = None
    """Column of the first moment (``timestamptz``, inclusive); None = the view has no time."""
    end: str | None = None
    """Column of the moment after the last one (exclusive); null in it means that there is no end."""
    compared: tuple[str, str | None] | None = None
    """Columns that filters by time compare: a beginning and an exclusive end (null, or no column: until now). Twice the
    same: a moment, which an index finds and the range from ``begin`` to ``end`` does not. None = no filter by time."""
    meaning: str = ""
    """What a filter by time means."""
    order: tuple[str, ...] = ()
    """Columns that pages are sorted by, because an index has the first; together they identify a row. Empty: key."""
    leading: str = ""
    """Column (uuid) that the key begins with, before a slash, and that an index has; empty = the key itself is fast."""
    former: FormerKey | None = None

    @property
    def sort_columns(self) -> tuple[str, ...]:
        """Columns that together identify a row."""
        return self.order or (self.column,)


_HELD = ("valid_from", "valid_to")
_ACQUIRED = ("acquired_at", "acquired_at")
_WHEN_ACQUIRED = "acquired_at, when the scene was acquired"
_ON_THE_GROUND = "valid_at, when it was so on the ground"
_STATE_ORDER = ("track_id", "valid_from", "recorded_from", "observation_id")
VIEW_KEYS: Mapping[str, ViewKey] = MappingProxyType(
    {
        "accuracy": ViewKey("accuracy_id"),
        "admin_areas": ViewKey("admin_area_id"),
        "alert_corrections": ViewKey("correction_id"),
        "alerts": ViewKey("alert_id", *_HELD, ("valid_at", "valid_at"), _ON_THE_GROUND),
        "area_by_week": ViewKey("area_by_week_id", *_HELD, _HELD, "the week: from valid_from to before valid_to"),
        "assessments": ViewKey("stratum_id"),
        "calibrations": ViewKey("calibration_id"),
        "changes": ViewKey("change_id", *_HELD, ("valid_at", "valid_at"), _ON_THE_GROUND),
        "coverage": ViewKey("observation_id", *_HELD, _ACQUIRED, _WHEN_ACQUIRED),
        "detections": ViewKey("detection_id", *_HELD, _ACQUIRED, _WHEN_ACQUIRED),
        "events": ViewKey(
            "event_id", compared=("occurred_at", "occurred_at"), meaning="occurred_at, when the event began"
        ),
        "evidence": ViewKey("observation_id"),
        "imagery": ViewKey(
            "imagery_id", *_HELD, _ACQUIRED, _WHEN_ACQUIRED, leading="observation_id",
            order=("watch", "scene_id", "item_id"),
            former=FormerKey("scene_id", ("watch", "scene_id", "item_id")),
        ),
        "object_history": ViewKey(
            "state_id", *_HELD, _HELD, "when the object was in this state: from valid_from to before valid_to",
            order=_STATE_ORDER, former=FormerKey("track_id", _STATE_ORDER),
        ),
        "objects_now": ViewKey(
            "track_id", *_HELD, ("first_seen", None), "when the object was there: from first_seen on"
        ),
        "presence": ViewKey("presence_id"),
        "rejected_items": ViewKey(
            "rejection_id", *_HELD, _ACQUIRED, "acquired_at, when the item was acquired",
            former=FormerKey("watch", ("watch", "collection", "item_id", "recorded_at", "reason")),
        ),
        "reviews": ViewKey(
            "review_id", *_HELD, ("looked_at", "looked_at"),
            "looked_at, when the scene was acquired that the verdict is about",
        ),
        "shadow_comparisons": ViewKey("comparison_id"),
        "shadow_differences": ViewKey(
            "difference_id", *_HELD, _ACQUIRED, _WHEN_ACQUIRED, leading="observation_id",
            order=("observation_id", "ordinal"), former=FormerKey("observation_id", ("observation_id", "ordinal")),
        ),
        "upgrades": ViewKey("upgrade_id"),
        "watches": ViewKey(
            "watch", "starts_at", "ends_at", ("starts_at", "ends_at"),
            "when scenes are observed: from starts_at to before ends_at",
        ),
    }
)  # fmt: skip
