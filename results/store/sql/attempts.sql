-- One row per attempt (a trial's number of it, and the launch that ran it): its last event, and the
-- epoch from which a later attempt shows. What is said of trials that several stores have run is
-- then corrected by results/store/merging/lines.py.
CREATE TABLE attempts AS
WITH latest AS (
    SELECT * FROM files_trials
    WHERE trial_id IS NOT NULL AND attempt IS NOT NULL AND status IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY trial_id, attempt, coalesce(launch_id, '')
        ORDER BY event DESC, ended DESC NULLS LAST
    ) = 1
)
SELECT
    * EXCLUDE (starts_at),
    min(starts_at) OVER later AS until_epoch,
    attempt = max(attempt) OVER (PARTITION BY trial_id) AS newest,
    min(started) OVER (PARTITION BY trial_id) AS first_started,
    true AS shown,
    attempt < max(attempt) OVER (PARTITION BY trial_id) AS followed,
    min(starts_at) OVER later AS spare_epoch
FROM (
    -- One that goes on from a shorter trial takes that one's epochs for its own.
    SELECT *, CASE WHEN continues <> '' THEN 0 ELSE first_epoch END AS starts_at FROM latest
)
WINDOW later AS (
    PARTITION BY trial_id ORDER BY attempt ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
)
ORDER BY trial_id, attempt, launch_id;
