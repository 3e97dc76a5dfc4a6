"""Frozen value types that cross folder borders. Standard library, numpy and shapely only.

Geometries are shapely geometries in EPSG:4326 (longitude, latitude), valid and oriented, unless a docstring says
otherwise. Times are timezone-aware UTC. Areas are geodesic square metres.
"""
