"""Every query on the analyst schema ``watch``: what the map, the command line and reports read.

Functions run on the caller's connection and return plain rows, bounded where they answer a web request.
:mod:`segwatch.db.analyst.pages` reads the same views in pages, for readers that take many rows. The views narrow the
rows to the watches that a session may read (:mod:`segwatch.db.readers`), so nothing here checks access.
"""

from segwatch.db.analyst.accuracy import (
    StoredCalibration,
    describe_accuracy,
    describe_target,
    estimate_assessment,
    list_calibrations,
    list_small_strata,
    list_strata,
    read_accuracy,
)
from segwatch.db.analyst.alert_inbox import (
    AlertCounts,
    AlertFilter,
    AlertMark,
    AlertOrder,
    AlertPage,
    count_alerts_by,
    list_alert_page,
)
from segwatch.db.analyst.alerts import (
    ChangeStatus,
    count_alerts,
    list_alerts,
    list_alerts_for_feed,
    read_alert_for_feed,
)
from segwatch.db.analyst.briefings import (
    Outline,
    Outlines,
    count_gains,
    find_unseen,
    list_extents,
    list_outlines,
    list_states,
    sum_objects,
)
from segwatch.db.analyst.catalogs import (
    CatalogSearch,
    is_observed,
    iter_published_detections,
    list_catalog_page,
    list_catalog_watches,
    list_model_uses,
    list_watch_names,
)
from segwatch.db.analyst.changes import (
    count_refuted_changes,
    list_largest_changes,
    sum_changes,
)
from segwatch.db.analyst.comparisons import Box, TileSpan, compare_totals, measure_unseen, read_change_tile
from segwatch.db.analyst.coverage import (
    count_states,
    explain_missing_alert,
    find_gap,
    list_coverage,
    list_coverage_page,
    list_readable_items,
    list_reported_scenes,
    list_scenes,
    list_unused,
)
from segwatch.db.analyst.deltas import (
    Position,
    SeriesPosition,
    check_position,
    iter_change_deltas,
    iter_object_deltas,
    read_position,
)
from segwatch.db.analyst.downloads import SHOWN_COLUMNS, Shown, iter_shown
from segwatch.db.analyst.events import list_events
from segwatch.db.analyst.exports import (
    CHANGE_COLUMNS,
    HISTORY_COLUMNS,
    OBJECT_COLUMNS,
    Selection,
    iter_changes,
    iter_history,
    iter_objects,
    open_snapshot,
)
from segwatch.db.analyst.keys import VIEW_KEYS, ViewKey
from segwatch.db.analyst.metrics import list_alert_ages, list_metrics, list_renderings, list_usage
from segwatch.db.analyst.object_history import ObjectHistory, read_object_history
from segwatch.db.analyst.object_panel import ObjectPanel, read_object_panel
from segwatch.db.analyst.objects import (
    ObjectPage,
    TileMoment,
    TilePlace,
    check_readable,
    list_objects_as_of,
    list_reviews,
    read_object_tile,
    read_version,
)
from segwatch.db.analyst.observed import (
    DETECTION_COLUMNS,
    OBSERVATION_COLUMNS,
    REVIEW_COLUMNS,
    iter_detections,
    iter_observations,
    iter_reviewed,
    list_observations,
)
from segwatch.db.analyst.operations import list_operations
from segwatch.db.analyst.rows import Rows
from segwatch.db.analyst.search import find_by_id, find_watches, parse_id_prefix
from segwatch.db.analyst.shadows import count_observed as count_observed
from segwatch.db.analyst.shadows import list_compared_objects, list_compared_scenes, list_differences
from segwatch.db.analyst.watches import has_watch, list_upgrades, list_watches, read_watch, summarize_watches

__all__ = [
    "CHANGE_COLUMNS",
    "DETECTION_COLUMNS",
    "HISTORY_COLUMNS",
    "OBJECT_COLUMNS",
    "OBSERVATION_COLUMNS",
    "REVIEW_COLUMNS",
    "SHOWN_COLUMNS",
    "VIEW_KEYS",
    "AlertCounts",
    "AlertFilter",
    "AlertMark",
    "AlertOrder",
    "AlertPage",
    "Box",
    "CatalogSearch",
    "ChangeStatus",
    "ObjectHistory",
    "ObjectPage",
    "ObjectPanel",
    "Outline",
    "Outlines",
    "Position",
    "Rows",
    "Selection",
    "SeriesPosition",
    "Shown",
    "StoredCalibration",
    "TileMoment",
    "TilePlace",
    "TileSpan",
    "ViewKey",
    "check_position",
    "check_readable",
    "compare_totals",
    "count_alerts",
    "count_alerts_by",
    "count_gains",
    "count_refuted_changes",
    "count_states",
    "describe_accuracy",
    "describe_target",
    "estimate_assessment",
    "explain_missing_alert",
    "find_by_id",
    "find_gap",
    "find_unseen",
    "find_watches",
    "has_watch",
    "is_observed",
    "iter_change_deltas",
    "iter_changes",
    "iter_detections",
    "iter_history",
    "iter_object_deltas",
    "iter_objects",
    "iter_observations",
    "iter_published_detections",
    "iter_reviewed",
    "iter_shown",
    "list_alert_ages",
    "list_alert_page",
    "list_alerts",
    "list_alerts_for_feed",
    "list_calibrations",
    "list_catalog_page",
    "list_catalog_watches",
    "list_compared_objects",
    "list_compared_scenes",
    "list_coverage",
    "list_coverage_page",
    "list_differences",
    "list_events",
    "list_extents",
    "list_largest_changes",
    "list_metrics",
    "list_model_uses",
    "list_objects_as_of",
    "list_observations",
    "list_operations",
    "list_outlines",
    "list_readable_items",
    "list_renderings",
    "list_reported_scenes",
    "list_reviews",
    "list_scenes",
    "list_small_strata",
    "list_states",
    "list_strata",
    "list_unused",
    "list_upgrades",
    "list_usage",
    "list_watch_names",
    "list_watches",
    "measure_unseen",
    "open_snapshot",
    "parse_id_prefix",
    "read_accuracy",
    "read_alert_for_feed",
    "read_change_tile",
    "read_object_history",
    "read_object_panel",
    "read_object_tile",
    "read_position",
    "read_version",
    "read_watch",
    "sum_changes",
    "sum_objects",
    "summarize_watches",
]
