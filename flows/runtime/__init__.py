"""What every segwatch process shares: logs, signals, console, optional packages, connection to the ledger."""
