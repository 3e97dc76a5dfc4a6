"""Whether what was promised happens: schedules fire, workers poll, the outbox moves, catalogs answer."""
