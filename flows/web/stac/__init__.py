"""STAC API of what watches observed: the documents of the static catalog, searchable."""
