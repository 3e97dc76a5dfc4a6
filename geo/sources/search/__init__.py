"""STAC search: endpoints, request forms, paging, completeness, static catalogs, watermarks."""
