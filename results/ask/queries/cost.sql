-- What each trial cost over all its attempts, lost ones included, with its share of compiling.
WITH shared AS (
    SELECT *, compile_seconds / count(*) OVER (PARTITION BY launch_id, pack) AS compile_share
    FROM attempts
)
SELECT
    trial_id, count(*) AS attempts,
    sum(seconds) AS seconds,
    sum(compile_share) AS compile_seconds,
    arg_max(epochs_done, attempt) AS epochs_done,
    sum(seconds) / nullif(
        arg_max(epochs_done, attempt) - coalesce(min(first_epoch) FILTER (continues <> ''), 0), 0
    ) AS seconds_per_epoch,
    arg_max(parameters, attempt) AS parameters,
    arg_max(device, attempt) AS device
FROM shared
GROUP BY trial_id
ORDER BY seconds DESC, trial_id;
