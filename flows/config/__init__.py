"""Read what operators write: settings, watch files, GeoJSON, cron expressions. Does not import Prefect."""
