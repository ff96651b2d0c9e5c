-- Trainings from pretrained weights beside those that differ in their start only, best epoch each.
WITH final AS (
    SELECT trial_id, epoch, val_loss, test_loss, test_accuracy
    FROM epochs
    WHERE isfinite(val_loss)  -- a trial that was pruned might have had a better one later
        AND trial_id NOT IN (SELECT trial_id FROM trials WHERE status IN ('pruned', 'paused'))
    QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY val_loss, epoch) = 1
),
named AS (
    SELECT
        trial_id, status, config,
        coalesce(config ->> '$.pretrain', 'none') AS pretrain,
        config ->> '$.lsc_target' AS target,
        config ->> '$.init' AS init,
        list_filter(
            json_keys(config),
            lambda k: k NOT IN ('pretrain', 'init') AND NOT regexp_matches(k, '^(lsc|gate)_')
        ) AS keys
    FROM trials
    WHERE stage = 'train'
),
matched AS (
    SELECT
        n.* EXCLUDE (keys), f.* EXCLUDE (trial_id),
        list_transform(keys, lambda k: k || '=' || coalesce(config ->> ('$.' || k), '')) AS key
    FROM named n
    LEFT JOIN final f USING (trial_id)
)
SELECT
    a.trial_id, a.pretrain, a.target, b.trial_id AS other_id, b.init AS other_init,
    a.status, b.status AS other_status, a.epoch, b.epoch AS other_epoch,
    a.val_loss, b.val_loss AS other_val_loss,
    a.test_accuracy, b.test_accuracy AS other_test_accuracy,
    a.test_accuracy - b.test_accuracy AS test_accuracy_gain,
    a.test_loss, b.test_loss AS other_test_loss, a.config
FROM matched a
JOIN matched b ON a.key = b.key
WHERE a.pretrain <> 'none' AND b.pretrain = 'none'
ORDER BY a.trial_id, b.trial_id;
