-- What each trial watches, and its first, last and best value. No verdict reads them.
-- {watched} is replaced by the watched number in a row of epochs with the trial's `monitor`.
CREATE VIEW monitored AS
WITH seen AS (
    SELECT v.trial_id, m.monitor, m.mode, e.epoch, {watched} AS value
    FROM numbered_epochs e
    JOIN (SELECT DISTINCT trial, trial_id FROM visible) v USING (trial)
    LEFT JOIN monitors m ON m.trial_id = v.trial_id
)
SELECT
    trial_id, coalesce(any_value(monitor), 'val_loss') AS monitor,
    arg_min(value, epoch) AS monitor_start, arg_max(value, epoch) AS monitor_end,
    CASE any_value(mode) WHEN 'max' THEN max(value) ELSE min(value) END AS monitor_best
FROM seen WHERE isfinite(value) GROUP BY trial_id;
