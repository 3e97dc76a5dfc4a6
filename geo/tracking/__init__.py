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
- :mod:`~segwatch.geo.tracking.registration`: measure and correct the shift of an observation, from outlines
- :mod:`~segwatch.geo.tracking.judge`: judge the changes of an observation, and earlier open ones
- :mod:`~segwatch.geo.tracking.belief_model`: the probability model: rates, likelihoods, when a region turned
- :mod:`~segwatch.geo.tracking.regions`: the region of ground that a change turned
- :mod:`~segwatch.geo.tracking.region_views`: what one observation shows of a region
- :mod:`~segwatch.geo.tracking.counting`: beliefs of objects, and the counts that rates are estimated from
- :mod:`~segwatch.geo.tracking.alert_rules`: match changes with alert rules; when messages may be sent
"""
