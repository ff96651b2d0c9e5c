-- Trials that turned non-finite: when, after which loss and gradient norm.
SELECT
    t.trial_id, t.status, t.bad_epoch, t.bad_step,
    arg_max(e.loss_last, e.epoch) AS last_loss,
    max(CASE WHEN isfinite(e.grad_norm_max) THEN e.grad_norm_max END) AS largest_norm,
    t.config
FROM trials t
LEFT JOIN epochs e USING (trial_id)
WHERE t.bad_epoch IS NOT NULL OR t.status = 'diverged'
GROUP BY ALL
ORDER BY t.bad_epoch, t.trial_id;
