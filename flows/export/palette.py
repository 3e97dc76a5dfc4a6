"""Colours of exported maps: Okabe and Ito's, which people with any colour vision tell apart."""

from __future__ import annotations

#: Kind of change -> RGB, 0 to 255.
CHANGE_COLOURS = {
    "appeared": (213, 94, 0),
    "reappeared": (204, 121, 167),
    "grew": (230, 159, 0),
    "shrank": (86, 180, 233),
    "moved": (240, 228, 66),
    "split": (0, 114, 178),
    "merged": (0, 158, 115),
    "disappeared": (0, 0, 0),
}
#: Objects that are as they were when their ground was first observed.
UNCHANGED_COLOUR = (0, 158, 115)
FOOTPRINT_COLOUR = (110, 110, 110)
