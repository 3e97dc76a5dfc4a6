"""Static file server with byte ranges, for the demo's imagery.

python -m segwatch.flows.services.imagery --port N --root DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from segwatch.flows.runtime.hosts import KnownHosts


def create_app(root: Path) -> Starlette:
    """Serve the files below ``root`` by GET and HEAD: 206 for ranges, 416 beyond the end, nothing outside ``root``."""

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    files = StaticFiles(directory=root, follow_symlink=False)
    return Starlette(routes=[Route("/healthz", healthz), Mount("/", files)])


def main() -> None:
    """Serve on 127.0.0.1 until stopped."""
    parser = argparse.ArgumentParser(description="Static file server with byte ranges.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.root.is_dir():
        parser.error(f"--root {arguments.root} is not a folder")
    uvicorn.run(
        KnownHosts(create_app(arguments.root)), host="127.0.0.1", port=arguments.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
