"""Tracking core: pure functions that fold the observations of one series into tracks, changes and lineage.

Read in this order:

- :mod:`~segwatch.geo.tracking.series`: fold observations in order of acquisition time
- :mod:`~segwatch.geo.tracking.fold`: fold one observation, step by step
- :mod:`~segwatch.geo.tracking.link`: find out which detections show which objects
- :mod:`~segwatch.geo.tracking.transitions`: decide whether an object grew, shrank or moved
- :mod:`~segwatch.geo.tracking.step_builder`: collect the states, changes and lineage of one observation
- :mod:`~segwatch.geo.tracking.ground`: what a series has observed, and what one observation is the first to observe
- :mod:`~segwatch.geo.tracking.cutting`: cut detections and objects at the border of newly observed ground
- :mod:`~segwatch.geo.tracking.crossing`: continue objects across that border without a change
- :mod:`~segwatch.geo.tracking.overlay`: robust polygon overlay in EPSG:4326
- :mod:`~segwatch.geo.tracking.alert_rules`: match changes with alert rules; when messages may be sent
"""
