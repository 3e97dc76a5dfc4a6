"""Automations on the Prefect server for runs that fail, runs that never end, and schedules that fall silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import ActionTypes, DoNothing, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from segwatch.flows.errors import ConfigError

FAILED, STUCK, SILENT = "segwatch: failed runs", "segwatch: stuck runs", "segwatch: silent schedules"
_FLOWS = ["observe", "segment", "discover", "track", "deliver", "respond", "poll-feeds", "trial", "prune"]
#: A drain of years of scenes takes hours; a lost run is found much sooner, by its heartbeat.
_STUCK_AFTER = timedelta(hours=12)
#: The flow track is scheduled every five minutes.
_SILENT_AFTER = timedelta(minutes=30)


def put_automations(client: SyncPrefectClient, notify: str | None = None) -> None:
    """Create the automations that are missing; those that exist stay as an operator set them.

    Parameters
    ----------
    notify
        Notification block as TYPE/NAME, such as slack-webhook/operators, to which all of them, existing ones too, send;
        None = new ones only show in the UI that they fired. A stuck run starts the flow track either way, which ends
        lost runs and resumes what waits.

    Raises
    ------
    ConfigError
        The server has no such block.
    """
    block = None if notify is None else _find_block(client, notify)
    for wanted in _make_automations(client, block):
        existing = client.read_automations_by_name(wanted.name)
        if not existing:
            client.create_automation(wanted)
        elif block is not None:
            client.update_automation(existing[0].id, wanted)


def _find_block(client: SyncPrefectClient, notify: str) -> UUID:
    kind, _, name = notify.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id or _refuse(notify)
    except (ObjectNotFound, httpx.HTTPStatusError):
        return _refuse(notify)


def _refuse(notify: str) -> UUID:
    raise ConfigError(
        f"the Prefect server has no notification block {notify!r}; create it under Blocks, and give TYPE/NAME, such as "
        "slack-webhook/operators"
    )


def _make_automations(client: SyncPrefectClient, block: UUID | None) -> Sequence[AutomationCore]:
    resume = _list_resume(client)
    of_ours = ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": _FLOWS})
    of_track = ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": "track"})
    runs = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
    return (
        AutomationCore(
            name=FAILED,
            description="A run of segwatch failed or crashed.",
            trigger=EventTrigger(
                match=runs,
                match_related=of_ours,
                expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[_tell(block, "failed")],
        ),
        AutomationCore(
            name=STUCK,
            description="A run of segwatch has not ended within twelve hours.",
            trigger=EventTrigger(
                match=runs,
                match_related=of_ours,
                after={"prefect.flow-run.Running"},
                expect={
                    "prefect.flow-run.Completed",
                    "prefect.flow-run.Failed",
                    "prefect.flow-run.Crashed",
                    "prefect.flow-run.Cancelled",
                },
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=_STUCK_AFTER,
            ),
            actions=[*resume, _tell(block, "is stuck")],
        ),
        AutomationCore(
            name=SILENT,
            description="No run of the flow track completed for half an hour: no schedule fires or no worker polls.",
            trigger=EventTrigger(
                match=runs,
                match_related=of_track,
                expect={"prefect.flow-run.Completed"},
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENT_AFTER,
            ),
            actions=[_tell(block, "is silent")],
        ),
    )


def _list_resume(client: SyncPrefectClient) -> list[ActionTypes]:
    """List the action that ends lost runs: the flow track, where it is deployed."""
    try:
        track = client.read_deployment_by_name("track/track").id
    except ObjectNotFound:
        return []
    return [RunDeployment(source="selected", deployment_id=track)]


def _tell(block: UUID | None, what: str) -> ActionTypes:
    if block is None:
        return DoNothing()
    return SendNotification(
        block_document_id=block,
        subject=f"segwatch: {{{{ flow.name | default('a schedule') }}}} {what}",
        body="{{ automation.name }}\n{{ flow_run.name | default('') }} {{ flow_run|ui_url if flow_run else '' }}",
    )
