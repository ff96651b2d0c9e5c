-- Trials whose config also ran under newer versions of its parts.
SELECT trial_id, status, versions, config_id, config
FROM all_trials
WHERE stale
ORDER BY config_id, trial_id;
