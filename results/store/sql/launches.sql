-- What each pack and each launch did, by the attempts that they ran, superseded ones too.
CREATE VIEW packs AS
SELECT
    launch_id, pack, any_value(program) AS program, count(DISTINCT trial_id) AS lanes,
    any_value(host) AS host, any_value(device) AS device,
    min(started) AS started, max(ended) AS ended, sum(seconds) AS seconds,
    max(compile_seconds) AS compile_seconds
FROM attempts
GROUP BY launch_id, pack
ORDER BY started, launch_id, pack;

CREATE VIEW launches AS
WITH compiled AS (
    SELECT launch_id, count(*) AS packs, sum(compile_seconds) AS compile_seconds
    FROM packs GROUP BY launch_id
),
ran AS (
    SELECT
        launch_id,
        string_agg(DISTINCT split_part(space, '/', 1), ', ' ORDER BY split_part(space, '/', 1))
            AS study,
        string_agg(DISTINCT space, ', ' ORDER BY space) AS space,
        min(started) AS started, CASE WHEN count(ended) = count(*) THEN max(ended) END AS ended,
        string_agg(DISTINCT host, ', ' ORDER BY host) AS hosts,
        string_agg(DISTINCT device, ', ' ORDER BY device) AS devices,
        string_agg(DISTINCT git_commit, ', ' ORDER BY git_commit) AS git_commit,
        any_value(CASE WHEN json_valid(signature) THEN signature ->> '$.versions' END) AS versions,
        count(DISTINCT trial_id) AS trials, count(*) AS attempts,
        count(*) FILTER (status = 'done') AS done,
        count(*) FILTER (status = 'diverged') AS diverged,
        count(*) FILTER (status = 'stopped') AS stopped,
        count(*) FILTER (status = 'gate_failed') AS gate_failed,
        count(*) FILTER (status = 'pruned') AS pruned,
        count(*) FILTER (status = 'paused') AS paused,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'interrupted') AS interrupted,
        count(*) FILTER (status = 'running') AS running,
        sum(epochs_done - first_epoch)::BIGINT AS epochs, sum(seconds) AS seconds
    FROM attempts GROUP BY launch_id
)
SELECT
    r.* EXCLUDE (epochs, seconds), c.packs, r.epochs, r.seconds, c.compile_seconds
FROM ran r JOIN compiled c ON r.launch_id IS NOT DISTINCT FROM c.launch_id
ORDER BY r.started, r.launch_id;
