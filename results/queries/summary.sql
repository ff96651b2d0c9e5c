-- One line per trial: its config, status, verdict and where it ended.
SELECT c.* EXCLUDE (stale), a.status, d.verdict, e.epoch + 1 AS epochs_run, e.loss, e.val_loss,
    e.test_accuracy, e.grad_norm, e.grad_norm_smallest
FROM configs c
JOIN attempts a ON a.trial_id = c.trial_id AND a.newest
LEFT JOIN diagnosis d ON d.trial_id = c.trial_id
LEFT JOIN epochs e ON e.trial_id = c.trial_id
WHERE NOT c.stale
QUALIFY e.epoch IS NULL OR e.epoch = max(e.epoch) OVER (PARTITION BY c.trial_id)
ORDER BY ALL;
