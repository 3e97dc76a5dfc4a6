"""Guards that every request passes first: headers, access, rate limits, pools and connections."""
