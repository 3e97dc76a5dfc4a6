-- Administrative areas belong to no watch: whoever may read something may read them.
CREATE OR REPLACE VIEW watch.admin_areas AS
SELECT a.id AS admin_area_id, a.layer, a.name, a.area_m2, a.geom
FROM segwatch.admin_area a;

GRANT SELECT ON watch.admin_areas TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.admin_areas IS
    'Administrative areas, such as districts, that segwatch db areas loaded: watch.area_by_week sums by them.';
COMMENT ON COLUMN watch.admin_areas.admin_area_id IS
    'Id of the administrative area.';
COMMENT ON COLUMN watch.admin_areas.layer IS
    'Name of the layer that it was loaded with.';
COMMENT ON COLUMN watch.admin_areas.name IS
    'Name of the administrative area, unique in its layer.';
COMMENT ON COLUMN watch.admin_areas.area_m2 IS
    'Geodesic area, square metres.';
COMMENT ON COLUMN watch.admin_areas.geom IS
    'Polygon, EPSG:4326.';
