-- Workers read and write rows; what people decided is only ever added.
GRANT SELECT, INSERT, UPDATE ON
    segwatch.access_token,
    segwatch.alert,
    segwatch.alert_age,
    segwatch.area,
    segwatch.change,
    segwatch.change_evidence,
    segwatch.change_judgement,
    segwatch.channel,
    segwatch.circuit,
    segwatch.delivery,
    segwatch.detection,
    segwatch.discovery,
    segwatch.event,
    segwatch.event_name,
    segwatch.index_cells,
    segwatch.instruction,
    segwatch.model_switch,
    segwatch.mutex,
    segwatch.observation,
    segwatch.rejected_item,
    segwatch.rewording,
    segwatch.scene,
    segwatch.scene_item,
    segwatch.seen_ground,
    segwatch.series,
    segwatch.shadow_agreement,
    segwatch.shadow_difference,
    segwatch.shadow_result,
    segwatch.target_accuracy,
    segwatch.target_presence,
    segwatch.track,
    segwatch.track_lineage,
    segwatch.track_state,
    segwatch.usage,
    segwatch.watch,
    segwatch.watch_area,
    segwatch.watch_head,
    segwatch.watermark
    TO segwatch_worker;
GRANT SELECT, INSERT ON segwatch.observation_chip, segwatch.series_reference TO segwatch_worker;
GRANT SELECT, INSERT ON
    segwatch.assessment,
    segwatch.assessment_label,
    segwatch.assessment_sample,
    segwatch.assessment_stratum,
    segwatch.calibration
    TO segwatch_worker;
GRANT SELECT, INSERT ON segwatch.alert_correction, segwatch.alert_mark, segwatch.judgement_evidence, segwatch.review,
    segwatch.watch_action
    TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON segwatch.run, segwatch.announcement, segwatch.discovery_request,
    segwatch.trial,
    segwatch.revisit,
    segwatch.fallback_scene
    TO segwatch_worker;
-- Retention removes those of superseded observations.
GRANT DELETE ON segwatch.observation_chip, segwatch.index_cells TO segwatch_worker;
-- Derived from the observations: a late scene replaces them.
GRANT SELECT, INSERT, DELETE ON segwatch.series_counts TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    segwatch.admin_area,
    segwatch.admin_area_part,
    segwatch.area_by_week,
    segwatch.observed_by_week,
    segwatch.reviewed_area
    TO segwatch_worker;
-- Small table that every view reads; who may read what is decided by whoever may create logins.
ALTER TABLE segwatch.database_user SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);

-- Small tables that every view joins: keep their statistics exact from the first row on.
ALTER TABLE segwatch.area SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.instruction SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.series SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.watch SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
ALTER TABLE segwatch.watch_head SET (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0.1);
