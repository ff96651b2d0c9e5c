-- Epochs with what is known of their trial. {configs}, {metrics}, {study} and {verdict} are replaced.
-- `run_verdicts` is empty until a query may read it: a verdict needs the rows of all layers.
CREATE VIEW run_verdicts AS SELECT NULL::VARCHAR AS trial_id, NULL::VARCHAR AS verdict WHERE false;

CREATE VIEW run_origins AS  -- of a launch of a whole study, the spaces that ask for the trial
SELECT
    a.trial_id, a.attempt, a.launch_id, split_part(a.space, '/', 1) AS study,
    coalesce(CASE WHEN NOT contains(a.space, '/') THEN s.spaces END, a.space) AS space
FROM attempts a
LEFT JOIN (
    SELECT
        trial_id, split_part(space, '/', 1) AS study, string_agg(space, ', ' ORDER BY space) AS spaces
    FROM space_trials GROUP BY ALL
) s ON a.trial_id = s.trial_id AND a.space = s.study
WHERE a.shown;

CREATE VIEW runs AS
SELECT
    e.trial_id, e.epoch, e.attempt, a.status, a.stage, {configs}, {metrics},
    coalesce(e.launch_id, o.launch_id) AS launch_id, o.space, o.study AS {study},
    v.verdict AS {verdict}
FROM epochs e
JOIN configs c ON e.trial_id = c.trial_id
JOIN attempts a ON e.trial_id = a.trial_id AND a.newest
JOIN run_origins o ON e.trial_id = o.trial_id AND e.attempt = o.attempt
LEFT JOIN run_verdicts v ON e.trial_id = v.trial_id;
