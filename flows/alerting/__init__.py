"""From alerts to delivered messages: backtests of rules, channels, and earliest send times. Does not import Prefect."""
