"""Self-check of a running system: do schedules fire, workers poll, messages leave the outbox, catalogs answer?"""
