-- What each trial watches, and its first, last and best value. No verdict reads them.
-- {watched} is replaced by the watched number in a row of epochs with the trial's `monitor`.
CREATE VIEW monitored AS
WITH watching AS (
    SELECT DISTINCT v.trial, m.monitor, m.mode FROM monitors m JOIN visible v USING (trial_id)
),
seen AS (
    SELECT e.trial, e.epoch, w.monitor, w.mode, {watched} AS value
    FROM numbered_epochs e LEFT JOIN watching w USING (trial)
),
found AS (
    SELECT
        trial, coalesce(any_value(monitor), 'val_loss') AS monitor,
        arg_min(value, epoch) AS monitor_start, arg_max(value, epoch) AS monitor_end,
        CASE any_value(mode) WHEN 'max' THEN max(value) ELSE min(value) END AS monitor_best
    FROM seen WHERE isfinite(value) GROUP BY trial
)
SELECT v.trial_id, f.* EXCLUDE (trial)
FROM found f JOIN (SELECT DISTINCT trial, trial_id FROM visible) v USING (trial);
