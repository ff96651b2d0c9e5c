-- One line per trial: its config, status, verdict and where it ended.
SELECT c.* EXCLUDE (stale), a.status, d.verdict, e.epoch + 1 AS epochs_run, e.loss, e.val_loss,
    e.test_accuracy, e.grad_norm, e.grad_norm_smallest
FROM configs c
JOIN attempts a ON a.trial_id = c.trial_id AND a.newest
LEFT JOIN diagnosis d ON d.trial_id = c.trial_id
LEFT JOIN (SELECT trial_id, max(epoch) AS epoch FROM epochs GROUP BY trial_id) l
    ON l.trial_id = c.trial_id
LEFT JOIN epochs e ON e.trial_id = l.trial_id AND e.epoch = l.epoch
WHERE NOT c.stale
ORDER BY ALL;
