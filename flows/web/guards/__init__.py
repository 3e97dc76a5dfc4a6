"""Every request passes here first: who asks, what they may read, how often, and how much runs at a time."""
