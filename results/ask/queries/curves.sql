-- Loss and gradient norms epoch by epoch.
SELECT
    trial_id, epoch, loss, val_loss, test_loss, accuracy, val_accuracy, test_accuracy,
    grad_norm, grad_norm_smallest, update_norm, param_norm
FROM epochs
ORDER BY trial_id, epoch;
