"""Orchestration and I/O edges; the only package that imports prefect."""

import logging

from segwatch.flows.runtime import logs

# it writes every address in full, and those of webhooks, feeds and signed links hold keys
logging.getLogger("httpx").setLevel(logging.WARNING)
logs.install()
