-- Verdicts of pruning rules. Of equal ones, such as one that was published again, the first shows.
CREATE VIEW all_decisions AS
SELECT * FROM files_decisions
QUALIFY row_number() OVER (
    PARTITION BY space, rule, trial_id, rung, metric, launch_id ORDER BY decided
) = 1
ORDER BY decided, rung, trial_id;

CREATE VIEW decisions AS
FROM all_decisions WHERE trial_id NOT IN (SELECT trial_id FROM configs WHERE stale);
