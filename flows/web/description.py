"""Descriptions of the HTTP interface for programs: OpenAPI 3.1 of requests, AsyncAPI 3.0 of messages.

The AsyncAPI document is what OGC API EDR Part 2 (Publish-Subscribe Workflow) asks a server to link to. Subscriptions
are the channels of a watch's rules: an operator writes them into the watch file, nobody subscribes over HTTP.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from segwatch.db import messages
from segwatch.flows.web.guards.access import COOKIE
from segwatch.flows.web.guards.refusals import Problem, describe_refusals
from segwatch.flows.web.schemas import CLOUD_EVENT

#: Version of the interface: the first number changes when clients have to.
VERSION = "1.0.0"
ASYNCAPI = "application/vnd.aai.asyncapi+json;version=3.0.0"
_TITLE = "segwatch"
#: Introduction of the JSON API.
WORDS = (
    "Watches, objects, changes and alerts as JSON. Features and vector tiles of the same views are at /ogc/, described "
    "in /ogc/api; messages that segwatch sends and receives in /asyncapi.json. Errors are problem details (RFC 9457)."
)


class DescribedApp(FastAPI):
    """Application whose OpenAPI document has the error form, and how clients identify themselves."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            made = get_openapi(
                title=self.title,
                version=VERSION,
                openapi_version="3.1.0",
                description=self.description,
                routes=self.routes,
            )
            parts = made.setdefault("components", {})
            parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
            parts["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": "made by segwatch token create"},
                "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "set by /login"},
            }
            # {}: a server on this machine alone, or one that is public, needs no token
            made["security"] = [{"token": []}, {"login": []}, {}]
            self.openapi_schema = made
        return self.openapi_schema


def make_router() -> APIRouter:
    """Make the route ``GET /asyncapi.json``."""
    routes = APIRouter()

    @routes.get(
        "/asyncapi.json",
        response_class=JSONResponse,
        responses={
            200: {"description": "An AsyncAPI document", "content": {ASYNCAPI: {}}},
            **describe_refusals(401, 429, 500, 503, 504),
        },
    )
    def asyncapi() -> JSONResponse:
        """Describe the messages that segwatch sends and receives, as AsyncAPI 3.0."""
        return JSONResponse(describe_messages(), media_type=ASYNCAPI)

    return routes


def describe_messages() -> dict[str, Any]:
    """Make the AsyncAPI document."""
    sent = {kind.replace(".", "_"): _describe_sent(kind) for kind in messages.TYPES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": _TITLE,
            "version": VERSION,
            "description": "CloudEvents 1.0 in JSON, signed as Standard Webhooks.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "alerts": {
                "address": "{channel}",
                "description": "A channel of a rule in a watch file: the URL of a webhook. Delivery is at least once; "
                "the id of a message stays the same at every attempt.",
                "parameters": {"channel": {"description": "URL of the receiver"}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sent},
            },
            "announcements": {
                "address": "/announcements",
                "description": "A catalog announces new STAC items; searches of its watches are requested.",
                "messages": {"announcement": {"$ref": "#/components/messages/announcement"}},
            },
        },
        "operations": {
            "sendAlerts": {"action": "send", "channel": {"$ref": "#/channels/alerts"}},
            "receiveAnnouncements": {"action": "receive", "channel": {"$ref": "#/channels/announcements"}},
        },
        "components": {
            "messages": {
                **sent,
                "announcement": {"title": "New STAC items", "payload": CLOUD_EVENT, "headers": _HEADERS},
            }
        },
    }


_HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "webhook-id": {"type": "string"},
        "webhook-timestamp": {"type": "string", "description": "seconds since 1970"},
        "webhook-signature": {"type": "string", "description": "v1,... over id, time and body"},
    },
}


def _describe_sent(kind: str) -> dict[str, Any]:
    payload = {
        "type": "object",
        "required": ["specversion", "id", "source", "subject", "type", "time", "dataschema", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid"},
            "source": {"type": "string", "description": "/watches/NAME"},
            "subject": {"type": "string", "description": "the object, or the rule of a digest"},
            "type": {"const": kind},
            "time": {"type": "string", "format": "date-time"},
            "dataschema": {"const": messages.DATA_SCHEMA},
            "data": {"type": "object"},
        },
    }
    return {"name": kind, "title": kind, "headers": _HEADERS, "payload": payload}
