"""What every segwatch process does alike: logs, signals, the console, the connection to the ledger. No prefect."""
