-- The last epoch of every trial: losses, accuracies, verdict, beside its config.
SELECT r.*, d.verdict
FROM runs r
JOIN diagnosis d USING (trial_id)
QUALIFY r.epoch = max(r.epoch) OVER (PARTITION BY r.trial_id)
ORDER BY r.trial_id;
