"""Read what operators write: settings, watch files, GeoJSON, cron expressions. No prefect."""
