-- Trials that a space asks for and that have no result yet, and why.
SELECT
    s.trial_id, string_agg(DISTINCT s.space, ', ' ORDER BY s.space) AS spaces,
    coalesce(any_value(t.status), 'not started') AS status,
    any_value(t.reason) AS reason
FROM space_trials s
LEFT JOIN all_trials t USING (trial_id)
WHERE t.status IS NULL
    OR t.status NOT IN ('done', 'diverged', 'stopped', 'gate_failed', 'pruned')
GROUP BY s.trial_id
ORDER BY spaces, s.trial_id;
