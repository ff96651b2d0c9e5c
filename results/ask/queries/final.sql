-- The last epoch of every trial: losses, accuracies, verdict, beside its config.
SELECT r.*
FROM runs r
JOIN (SELECT trial_id, max(epoch) AS epoch FROM epochs GROUP BY trial_id) USING (trial_id, epoch)
ORDER BY r.trial_id;
