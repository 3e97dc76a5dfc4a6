"""What the web server needs to try instructions and to save watches: model, catalogs, ledger and Prefect server."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine

from segwatch.db import mutexes, watches
from segwatch.db.errors import UnknownWatch
from segwatch.flows.config.catalog_check import check_collections
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.config.sizes import find_doubtful_limits
from segwatch.flows.errors import FlowError
from segwatch.flows.inference import segmenters
from segwatch.flows.orchestration.deploy import schedule_watches
from segwatch.flows.orchestration.trial_runs import start_trials
from segwatch.flows.pipeline.applying import store_watch
from segwatch.flows.pipeline.preview import list_scenes, preview_watches
from segwatch.flows.pipeline.trials import MAX_KM2, MAX_TILES, check_size
from segwatch.flows.web.trials import NameTaken, SavedWatch, TrialIntake
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)
#: Two readers who save watches of one name at the same time wait for each other.
_MUTEX = "new watch"


def make_trial_intake(settings: FlowSettings, engine: Engine) -> TrialIntake:
    """Make the intake of a server whose engine has the worker's rights."""

    def check(watch: Watch) -> None:
        check_size(watch, _find_tile_px(settings))

    return TrialIntake(
        engine,
        check_size=check,
        limits={"area_km2": MAX_KM2, "tiles": MAX_TILES},
        check_catalog=_check_catalog,
        preview=lambda watch: _preview(settings, engine, watch),
        save=lambda watch: _save(engine, watch),
        start=lambda: start_trials(engine),
    )


def _find_tile_px(settings: FlowSettings) -> int | None:
    try:
        return segmenters.find_tile_px(settings)
    except segmenters.UNAVAILABLE:
        return None  # the server need not have the model: the worker checks again


def _check_catalog(watch: Watch) -> dict[str, Any]:
    problems = list(check_collections([watch]))
    is_missing = any(one.missing for one in problems)
    if problems:
        return {
            "answers": is_missing,
            "has_collection": False if is_missing else None,
            "scenes": None,
            "complete": False,
            "by_month": {},
            "first_at": None,
            "last_at": None,
            "rejected": 0,
            "problem": problems[0].reason,
        }
    found = list_scenes(watch)
    problem = found.note
    if problem is None and found.rejected and not found.scenes:
        first = found.rejected[0]
        count = len(found.rejected)
        problem = f"none of its {count} item(s) here can be used, for example {first.item_id}: {first.reason}"
    elif problem is None and not found.scenes:
        problem = "it has no scene of this area in this period; choose another area or period"
    return {
        "answers": True,
        "has_collection": True,
        "scenes": found.count,
        "complete": found.is_complete,
        "by_month": found.count_by_month(),
        "first_at": found.scenes[0].acquired_at if found.scenes else None,
        "last_at": found.scenes[-1].acquired_at if found.scenes else None,
        "rejected": len(found.rejected),
        "problem": problem,
    }


def _preview(settings: FlowSettings, engine: Engine, watch: Watch) -> dict[str, Any]:
    problems = [one.reason for one in check_collections([watch])]
    silent = {watch.name: problems[0]} if problems else {}
    (found,) = preview_watches(engine, settings, [watch], silent)
    shown = found.to_json()
    model, demonstration = None, None
    with suppress(*segmenters.UNAVAILABLE):
        model, demonstration = segmenters.get_model_version(settings), segmenters.is_demonstration(settings)
    return {
        **shown,
        "by_month": shown.pop("scenes_by_month"),
        "lines": list(found.describe()),
        "warnings": [*problems, *find_doubtful_limits(watch)],
        "model": model,
        "demonstration": demonstration,
    }


def _save(engine: Engine, watch: Watch) -> SavedWatch:
    with engine.begin() as conn:
        mutexes.lock(conn, _MUTEX)
        with suppress(UnknownWatch):
            if watches.load_current(conn, watch.name).watch != watch:
                raise NameTaken(watch.name)
        done = store_watch(conn, watch).done
    is_scheduled, note = _schedule(watch)
    return SavedWatch(done.revision_id, done.created, is_scheduled, note)


def _schedule(watch: Watch) -> tuple[bool, str | None]:
    """Put the watch on the Prefect server: whether it has a schedule there, and what is left to do."""
    by_hand = f"to observe its scenes now, run: segwatch run {watch.name}"
    if "PREFECT_API_URL" not in os.environ:
        todo = "no Prefect server is known here, so nothing is scheduled; run: segwatch deploy"
        return False, f"{todo if watch.schedule else 'it has no schedule'}; {by_hand}"
    try:
        schedule_watches([watch])
    except FlowError as error:
        _log.warning("watch %s was saved, but not scheduled: %s", watch.name, error)
        return False, f"saved, but the Prefect server could not be told; run: segwatch deploy; {by_hand}"
    return watch.schedule is not None, by_hand
