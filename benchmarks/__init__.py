"""How fast segwatch is, as ratios measured in one run on one machine."""
