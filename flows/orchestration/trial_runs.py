"""Start a run for trials that wait; called when one is requested, and by every track run."""

from __future__ import annotations

import logging

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilterDeploymentId
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings
from sqlalchemy import Engine

from segwatch.db import trials
from segwatch.db.errors import describe_error
from segwatch.flows.orchestration.resuming import list_open

_log = logging.getLogger(__name__)

TRIAL_DEPLOYMENT = "trial/trial"
_WAITING = (StateType.SCHEDULED, StateType.PENDING)


def start_trials(engine: Engine) -> bool:
    """Start a trial run if a trial waits and no run that will take it has begun to wait for a worker.

    Without a Prefect server this does nothing. It never raises: the trial stays queued, and the next call tries again.

    Returns
    -------
    bool
        Whether a run was started.
    """
    if get_current_settings().api.url is None:
        return False
    try:
        with engine.connect() as conn:
            if not trials.is_waiting(conn):
                return False
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(TRIAL_DEPLOYMENT)
            # a run that runs already may end without a look at what came last
            if any(list_open(client, FlowRunFilterDeploymentId(any_=[deployment.id]), _WAITING)):
                return False
            run = client.create_flow_run_from_deployment(deployment.id, parameters={})
    except Exception as error:  # whatever Prefect's client raises: the ledger has the trial
        _log.warning(
            "no run could be started for a trial, the next track run tries again: %s", describe_error(error)
        )
        return False
    _log.info("trial run %s takes up waiting trials", run.name)
    return True
