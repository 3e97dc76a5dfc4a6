"""From alerts to messages that arrive: rules tried on history, channels, and when a message may go out. No prefect."""
