CREATE OR REPLACE VIEW watch.rejected_items AS
SELECT r.watch_name AS watch, r.collection, r.item_id, r.href, r.reason, r.recorded_at, r.acquired_at,
       r.footprint AS geom, r.superseded_at, r.id AS rejection_id,
       r.acquired_at AS valid_from, r.acquired_at + interval '1 microsecond' AS valid_to
FROM segwatch.rejection r;

GRANT SELECT ON watch.rejected_items TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.rejected_items IS
    'STAC items that cannot be used, and why.';
COMMENT ON COLUMN watch.rejected_items.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.rejected_items.collection IS
    'Id of the STAC collection.';
COMMENT ON COLUMN watch.rejected_items.item_id IS
    'Id of the STAC item.';
COMMENT ON COLUMN watch.rejected_items.href IS
    'Link to the STAC item, or to the file of a static catalog that contains it.';
COMMENT ON COLUMN watch.rejected_items.reason IS
    'Why the item cannot be used.';
COMMENT ON COLUMN watch.rejected_items.recorded_at IS
    'When the item was rejected, UTC.';
COMMENT ON COLUMN watch.rejected_items.acquired_at IS
    'Acquisition time, UTC; null if the item has none.';
COMMENT ON COLUMN watch.rejected_items.geom IS
    'Footprint of the item, EPSG:4326; null if the item has none.';
COMMENT ON COLUMN watch.rejected_items.superseded_at IS
    'When the item became usable, was rejected for another reason, was no longer found, or when the watch got another profile or catalog, UTC; null while the rejection is current.';
COMMENT ON COLUMN watch.rejected_items.rejection_id IS
    'Key of the row: id of the rejection.';
COMMENT ON COLUMN watch.rejected_items.valid_from IS
    'acquired_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.rejected_items.valid_to IS
    'End of that range, exclusive, UTC: acquired_at and a microsecond.';
