"""``python -m segwatch.flows.cli``."""

from segwatch.flows.cli.app import main

main()
