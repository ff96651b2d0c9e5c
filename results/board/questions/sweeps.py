"""What each sweep has done and what is left of it."""

from __future__ import annotations

from results.board.questions.words import tidy


def sweeps() -> str:
    """One row per space: trials by status, epochs, speed of its newest launch, time left.

    Epochs a second are those of the newest launch, over the time from its first start to its last
    end, or to now while it runs. A trial that has not started is taken to be as long as the mean of
    those that have.
    """
    return tidy(
        """
        WITH recorded AS (
            SELECT trial_id, max(epoch) + 1 AS epochs FROM all_epochs GROUP BY trial_id
        ),
        members AS (
            SELECT
                s.space, t.status, t.started, t.ended, t.launch_id, t.host, t.pack, t.device,
                greatest(coalesce(t.epochs_done, 0), coalesce(r.epochs, 0)) AS epochs,
                greatest(coalesce(t.epochs_done, 0), coalesce(r.epochs, 0))
                    - coalesce(t.first_epoch, 0) AS own_epochs,
                coalesce(t.epochs_planned, avg(t.epochs_planned) OVER (PARTITION BY s.space))
                    AS planned,
                t.launch_id = arg_max(t.launch_id, t.started) OVER (PARTITION BY s.space)
                    AS newest
            FROM space_trials s
            LEFT JOIN all_trials t USING (trial_id)
            LEFT JOIN recorded r USING (trial_id)
        ),
        counted AS (
            SELECT
                space, count(*) AS trials,
                count(*) FILTER (status IN ('done', 'stopped')) AS done,
                count(*) FILTER (status = 'running') AS running,
                count(*) FILTER (
                    status IS NULL OR status IN ('paused', 'interrupted')
                ) AS waiting,
                count(*) FILTER (status = 'failed') AS failed,
                count(*) FILTER (status = 'gate_failed') AS gate_failed,
                count(*) FILTER (status = 'diverged') AS diverged,
                count(*) FILTER (status = 'pruned') AS pruned,
                sum(epochs)::BIGINT AS epochs,
                coalesce(sum(greatest(planned - epochs, 0)) FILTER (
                    status IS NULL OR status IN ('running', 'paused', 'interrupted')
                ), 0) AS epochs_left,
                sum(own_epochs) FILTER (newest) / nullif(
                    CASE WHEN count(*) FILTER (newest AND status = 'running') > 0
                        THEN epoch(now()) ELSE epoch(max(ended) FILTER (newest)) END
                    - epoch(min(started) FILTER (newest)), 0
                ) AS epochs_per_second,
                count(DISTINCT host) FILTER (status = 'running') AS hosts,
                count(DISTINCT pack) FILTER (status = 'running') AS packs,
                string_agg(DISTINCT device, ', ' ORDER BY device) AS devices,
                min(started) FILTER (newest) AS started
            FROM members GROUP BY space
        )
        SELECT
            space, 100 * epochs / nullif(epochs + epochs_left, 0) AS percent,
            trials, done, running, waiting, failed, gate_failed, diverged, pruned,
            epochs, epochs_left, epochs_per_second,
            CASE WHEN running > 0 THEN epochs_left / nullif(epochs_per_second, 0) END
                AS seconds_left,
            hosts, packs, devices, started
        FROM counted
        ORDER BY started DESC NULLS LAST, space
        """
    )


def failures() -> str:
    """Trials that failed, by reason."""
    return tidy(
        """
        SELECT s.space, t.status, t.reason, count(*) AS trials, min(t.trial_id) AS trial_id
        FROM space_trials s JOIN all_trials t USING (trial_id)
        WHERE t.status IN ('failed', 'gate_failed')
        GROUP BY ALL ORDER BY trials DESC, s.space, t.reason LIMIT 100
        """
    )
