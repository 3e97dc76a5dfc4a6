"""The ``segwatch`` command line. One module per group of commands; heavy imports happen inside commands."""

from segwatch.flows.cli.app import app, main

__all__ = ["app", "main"]
