-- Pruned and paused trials: how far each came, and the last decision about it.
SELECT
    t.trial_id, t.status, t.epochs_done, t.epochs_planned, d.rule, d.rung, d.metric, d.value,
    t.reason, t.config
FROM trials t
LEFT JOIN (
    FROM decisions QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY decided DESC, rung DESC) = 1
) d USING (trial_id)
WHERE t.status IN ('pruned', 'paused')
ORDER BY t.epochs_done DESC, t.trial_id;
