"""Files for other tools: objects and changes of a watch as tables, tiles, a STAC catalog or a QGIS project.

The tables have one Arrow schema each (:mod:`segwatch.flows.export.schema`), whatever the format.
"""
