-- Gradient norm of each whole layer at first and at last, their ratio; whether it is frozen.
SELECT
    trial_id, layer, any_value(layer_name) AS layer_name,
    arg_min(grad_norm, epoch) AS first_epoch_norm,
    arg_max(grad_norm, epoch) AS last_epoch_norm,
    arg_max(grad_norm, epoch) / nullif(arg_min(grad_norm, epoch), 0) AS ratio,
    sum(zero_steps)::BIGINT AS zero_steps,
    sum(nonfinite_steps)::BIGINT AS nonfinite_steps,
    coalesce(
        list_contains(string_split(any_value(frozen_layers), ', '), any_value(layer_name)), false
    ) AS frozen
FROM layers LEFT JOIN diagnosis USING (trial_id)
WHERE tensor = '*'
GROUP BY trial_id, layer
ORDER BY trial_id, layer;
