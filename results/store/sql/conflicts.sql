-- Trials that several stores have run with other results: the line of attempts that shows, one that
-- does not, and the first epoch whose rows differ. {columns} is replaced by what is compared.
CREATE VIEW conflicts AS
WITH others AS (
    SELECT
        r.trial_id, r.epoch, a.launch_id, a.signature, {columns} AS measured
    FROM files_epochs r
    JOIN attempts a ON r.trial_id = a.trial_id AND r.attempt = a.attempt
        AND (r.launch_id = a.launch_id OR r.launch_id IS NULL AND a.follows IS NULL)
    WHERE NOT a.shown AND r.epoch < coalesce(a.until_epoch, 2147483647)
),
seen AS (
    SELECT r.trial_id, r.epoch, r.attempt, {columns} AS measured
    FROM all_epochs r WHERE r.trial_id IN (SELECT trial_id FROM attempts WHERE NOT shown)
)
SELECT
    s.trial_id, min(s.epoch) AS epoch, count(DISTINCT s.epoch) AS epochs,
    arg_min(a.launch_id, s.epoch) AS launch_id, arg_min(a.signature, s.epoch) AS signature,
    o.launch_id AS other_launch_id, arg_min(o.signature, s.epoch) AS other_signature
FROM seen s
JOIN others o ON s.trial_id = o.trial_id AND s.epoch = o.epoch
JOIN attempts a ON s.trial_id = a.trial_id AND s.attempt = a.attempt AND a.shown
WHERE s.measured IS DISTINCT FROM o.measured
GROUP BY s.trial_id, o.launch_id
ORDER BY s.trial_id, other_launch_id;
