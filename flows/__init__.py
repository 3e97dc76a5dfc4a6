"""Orchestration and I/O: flows, alerts, events, services, command line and web server."""

import logging

from segwatch.flows.runtime import logs

# httpx logs whole URLs at level INFO, and those of webhooks, feeds and signed links contain secrets
logging.getLogger("httpx").setLevel(logging.WARNING)
logs.clean_log_records()
