-- Pretrainings: the radius each ended with, what its gate said, how many trainings start from it.
SELECT
    t.trial_id, t.status, t.reason, t.epochs_done AS epochs,
    arg_max(e.metrics['radius'], e.epoch) AS radius,
    arg_max(e.metrics['radius_std'], e.epoch) AS radius_std,
    arg_max(e.metrics['radius_gap'], e.epoch) AS radius_gap,
    sum(e.metrics['skipped']) AS skipped,
    any_value(c.children) AS children,
    t.seconds, t.config
FROM trials t
LEFT JOIN epochs e USING (trial_id)
LEFT JOIN (
    SELECT parent_id, count(*) AS children FROM trials GROUP BY parent_id
) c ON c.parent_id = t.trial_id
WHERE t.stage = 'lsc'
GROUP BY ALL
ORDER BY t.status, t.trial_id;
