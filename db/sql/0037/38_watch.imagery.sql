-- Without `links`: they may be signed, and a signed link lets anyone read the imagery.
CREATE OR REPLACE VIEW watch.imagery AS
SELECT watch, scene_id, scene_key, collection, platform, relative_orbit, solar_day, acquired_at, state, item_id, item_href,
       item_acquired_at, updated_at, processing_baseline, assets, properties, geom,
       profile - 'catalog' - 'access' AS profile, catalog, concat_ws('/', observation_id, item_id) AS imagery_id, observation_id,
       acquired_at AS valid_from, acquired_at + interval '1 microsecond' AS valid_to
FROM segwatch.imagery;

GRANT SELECT ON watch.imagery TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.imagery IS
    'STAC items behind the scenes of each watch: one row per watch, scene and current item.';
COMMENT ON COLUMN watch.imagery.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.imagery.scene_id IS
    'Id of the scene that the item is part of.';
COMMENT ON COLUMN watch.imagery.scene_key IS
    'Catalog, collection, platform, relative orbit and solar day of the scene.';
COMMENT ON COLUMN watch.imagery.collection IS
    'Id of the STAC collection.';
COMMENT ON COLUMN watch.imagery.platform IS
    'Platform; empty if the catalog names none.';
COMMENT ON COLUMN watch.imagery.relative_orbit IS
    'Relative orbit or path; empty if the catalog names none.';
COMMENT ON COLUMN watch.imagery.solar_day IS
    'Day of the acquisition in local solar time.';
COMMENT ON COLUMN watch.imagery.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.imagery.state IS
    'State of this watch''s observation of the scene, as in watch.coverage.';
COMMENT ON COLUMN watch.imagery.item_id IS
    'Id of the STAC item.';
COMMENT ON COLUMN watch.imagery.item_href IS
    'Link to the STAC item, without user information, signature and tokens.';
COMMENT ON COLUMN watch.imagery.item_acquired_at IS
    'Acquisition time of the item, UTC.';
COMMENT ON COLUMN watch.imagery.updated_at IS
    'When the catalog last updated the item, UTC; null if it does not say.';
COMMENT ON COLUMN watch.imagery.processing_baseline IS
    'Processing baseline of the item; empty if the catalog has none.';
COMMENT ON COLUMN watch.imagery.assets IS
    'Names and links of the assets that were read, without signatures and tokens.';
COMMENT ON COLUMN watch.imagery.properties IS
    'Properties of the STAC item.';
COMMENT ON COLUMN watch.imagery.geom IS
    'Footprint of the item, EPSG:4326.';
COMMENT ON COLUMN watch.imagery.profile IS
    'How the watch renders the scene: bands, scaling, nodata, cloud mask; without catalog and credentials.';
COMMENT ON COLUMN watch.imagery.catalog IS
    'Address of the catalog, without user information, query and tokens.';
COMMENT ON COLUMN watch.imagery.imagery_id IS
    'Key of the row: an item of an observation.';
COMMENT ON COLUMN watch.imagery.observation_id IS
    'Id of the observation that used the item.';
COMMENT ON COLUMN watch.imagery.valid_from IS
    'acquired_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.imagery.valid_to IS
    'End of that range, exclusive, UTC: acquired_at and a microsecond.';
