"""What operators write: settings, watch files, areas of interest, cron expressions. No prefect."""
