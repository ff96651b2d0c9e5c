-- Verdict per trial, from metric columns alone (epochs, layers) and the chance loss.
-- {rules} is replaced by one row of thresholds; see results/store/diagnosis.py for their meaning.
CREATE VIEW diagnosis AS
WITH rules AS ({rules}),
subjects AS (
    SELECT v.trial, a.trial_id, a.chance_loss
    FROM attempts a JOIN visible v USING (trial_id, attempt) WHERE a.newest AND NOT v.stale
),
finite AS (  -- epochs with at least one finite step; NaN sorts above all numbers in DuckDB
    SELECT
        trial, epoch, loss, loss_first, loss_last, finite_steps, zero_tensors,
        coalesce(grad_norm_max, grad_norm) AS top_norm, grad_norm,
        CASE WHEN zero_tensors > 0 THEN 0 ELSE grad_norm_smallest END AS smallest,
        row_number() OVER by_epoch AS nth,
        count(*) OVER (PARTITION BY trial) AS n
    FROM numbered_epochs
    WHERE isfinite(loss) AND coalesce(finite_steps, 1) > 0
    WINDOW by_epoch AS (PARTITION BY trial ORDER BY epoch)
),
windowed AS (  -- the plateau's window: the last k of n epochs
    SELECT
        f.*, t.chance_loss,
        n - least(greatest(plateau_epochs, ceil(plateau_share * n)), n) + 1 AS from_nth
    FROM finite f JOIN subjects t USING (trial), rules
),
ranked AS (  -- ranks of the loss, ties shared, for Spearman's correlation with the epoch
    SELECT trial, nth, (rank() OVER by_loss + count(*) OVER by_loss) / 2.0 AS loss_rank
    FROM finite
    WINDOW by_loss AS (PARTITION BY trial ORDER BY loss)
),
spearman AS (
    SELECT trial, CASE WHEN count(*) > 2 THEN corr(nth, loss_rank) END AS rho
    FROM ranked GROUP BY trial
),
bad AS (  -- first epoch with something not finite, shown though no step of it was finite
    SELECT trial, min(epoch) AS bad_epoch
    FROM numbered_epochs
    WHERE bad_step IS NOT NULL OR nonfinite_tensors > 0 OR finite_steps < steps
        OR NOT isfinite(loss) OR NOT isfinite(grad_norm)
    GROUP BY trial
),
norms AS MATERIALIZED (  -- G_l: gradient norm of each whole layer
    SELECT trial, epoch, layer, grad_norm
    FROM numbered_layers WHERE tensor = '*' AND isfinite(grad_norm)
),
readouts AS (SELECT trial, max(layer) AS readout FROM norms GROUP BY trial),
whole AS (  -- those below the readout with the floor for logarithms, the readout without
    SELECT
        trial, epoch, grad_norm,
        CASE WHEN layer < readout THEN layer END AS layer,
        CASE WHEN layer < readout THEN log10(greatest(grad_norm::DOUBLE, floor_norm)) END AS lg
    FROM norms JOIN readouts USING (trial), rules
),
depth AS (
    SELECT
        trial, epoch, min(grad_norm)::DOUBLE AS smallest,
        CASE WHEN count(layer) > 2 THEN regr_slope(lg, layer) END AS slope,
        CASE WHEN count(layer) > 2 THEN regr_r2(lg, layer) END AS r2,
        min_by(lg, layer) AS lg_first, max_by(lg, layer) AS lg_last, max(lg) - min(lg) AS spread
    FROM whole GROUP BY trial, epoch
),
judged AS (
    SELECT
        trial, f.epoch, d.slope, d.r2, d.spread, d.lg_first,
        10 ** (d.lg_first - d.lg_last) AS ratio,
        coalesce(d.smallest, f.smallest) AS smallest,
        coalesce(d.slope >= depth_slope AND d.r2 >= depth_r2, false)
            OR coalesce(10 ** (d.lg_first - d.lg_last) < depth_ratio, false) AS deep,
        coalesce(d.smallest, f.smallest) < abs_norm AS tiny,
        n - nth < recent_epochs AS recent,
        f.grad_norm
    FROM finite f LEFT JOIN depth d USING (trial, epoch), rules
),
profile AS (
    SELECT
        trial,
        arg_max(slope, epoch) AS depth_slope, arg_max(r2, epoch) AS depth_r2,
        arg_max(ratio, epoch) AS depth_ratio, arg_max(spread, epoch) AS spread,
        arg_max(smallest, epoch) AS smallest_norm,
        avg(deep::INT) FILTER (recent) >= any_value(recent_share) AS deep,
        avg(tiny::INT) FILTER (recent) >= any_value(recent_share) AS tiny,
        min(epoch) FILTER (deep OR tiny) AS faint_epoch,
        regr_slope(log10(greatest(grad_norm, floor_norm)), epoch) AS total_slope,
        regr_r2(log10(greatest(grad_norm, floor_norm)), epoch) AS total_r2,
        regr_slope(lg_first, epoch) AS first_slope, regr_r2(lg_first, epoch) AS first_r2
    FROM judged, rules GROUP BY trial
),
course AS (
    SELECT
        trial, count(*) AS epochs,
        arg_min(coalesce(CASE WHEN isfinite(loss_first) THEN loss_first END, loss), epoch) AS loss_start,
        arg_min(loss, epoch) AS loss_first_epoch,
        arg_max(loss, epoch) AS loss_end,
        arg_max(top_norm, epoch) = 0 AS still,
        max(CASE WHEN isfinite(top_norm) THEN top_norm END) AS largest_norm,
        min(epoch) FILTER (
            top_norm > explode_norm AND NOT isnan(top_norm)
            OR greatest(loss, CASE WHEN isfinite(loss_last) THEN loss_last ELSE loss END)
                > explode_loss * chance_loss
        ) AS burst_epoch,
        min(epoch) FILTER (top_norm = 0) AS still_epoch,
        min(epoch) FILTER (nth = from_nth) AS window_epoch,
        arg_min(loss, epoch) FILTER (nth >= from_nth) AS window_loss,
        count(*) FILTER (nth >= from_nth) AS window_epochs
    FROM windowed, rules GROUP BY trial
),
falls AS (
    SELECT
        *,
        (loss_start - loss_end) / nullif(abs(loss_start), 0) AS fall,
        (loss_first_epoch - loss_end) / nullif(abs(loss_first_epoch), 0) AS epochs_fall,
        CASE WHEN window_epochs > 1
            THEN (window_loss - loss_end) / nullif(abs(window_loss), 0) END AS window_fall
    FROM course
),
facts AS (
    SELECT
        t.trial_id, t.chance_loss, c.* EXCLUDE (trial), p.* EXCLUDE (trial), s.rho, b.bad_epoch,
        window_fall < plateau_fall AS flat,
        coalesce(loss_end <= plateau_loss * t.chance_loss, fall >= learned_fall, false) AS learned,
        coalesce(epochs >= epochs_min AND epochs_fall < epochs_loss_fall AND (
            total_slope <= epochs_slope AND total_r2 >= epochs_r2
            OR first_slope <= epochs_slope AND first_r2 >= epochs_r2), false) AS fading
    FROM subjects t
    LEFT JOIN falls c USING (trial)
    LEFT JOIN profile p USING (trial)
    LEFT JOIN spearman s USING (trial)
    LEFT JOIN bad b USING (trial), rules
),
verdicts AS (
    SELECT
        * EXCLUDE (deep, tiny, fading, still),
        coalesce(burst_epoch <= coalesce(bad_epoch, burst_epoch), false) AS exploding,
        bad_epoch IS NOT NULL AS diverged,
        coalesce(still AND NOT learned, false) AS dead,
        learned AND (coalesce(fall >= converged_fall, false) OR coalesce(flat, false)) AS converged,
        coalesce(deep, false) AND NOT converged AS vanishing_depth,
        coalesce(tiny, false) AND NOT learned AS vanishing_abs,
        fading AND NOT learned AS vanishing_epochs,
        flat AND loss_end > plateau_loss * chance_loss AS plateau,
        coalesce(spread <= healthy_spread AND rho <= healthy_rho, false)
            OR learned AND coalesce(fall >= converged_fall, false) AS healthy
    FROM facts, rules
),
named AS (
    SELECT
        *,
        CASE
            WHEN exploding THEN 'exploding'
            WHEN diverged THEN 'diverged'
            WHEN dead THEN 'dead'
            WHEN (vanishing_depth OR vanishing_abs OR vanishing_epochs) AND plateau THEN 'vanishing'
            WHEN vanishing_depth OR vanishing_abs OR vanishing_epochs THEN 'vanishing_mild'
            WHEN plateau THEN 'plateau'
            WHEN healthy THEN 'healthy'
            ELSE 'undetermined'
        END AS verdict
    FROM verdicts
)
SELECT
    trial_id, verdict,
    CASE verdict
        WHEN 'exploding' THEN burst_epoch
        WHEN 'diverged' THEN bad_epoch
        WHEN 'dead' THEN still_epoch
        WHEN 'vanishing' THEN coalesce(faint_epoch, window_epoch)
        WHEN 'vanishing_mild' THEN coalesce(faint_epoch, window_epoch)
        WHEN 'plateau' THEN window_epoch
    END AS first_bad_epoch,
    exploding, diverged, dead, vanishing_depth, vanishing_abs, vanishing_epochs, plateau, healthy,
    converged, coalesce(epochs, 0) AS epochs, loss_start, loss_end, fall AS loss_fall, window_fall,
    rho AS loss_spearman, chance_loss, largest_norm, smallest_norm, depth_slope, depth_r2,
    depth_ratio, spread, total_slope, first_slope, bad_epoch,
    to_json({
        'loss_start': loss_start, 'loss_end': loss_end, 'loss_fall': fall,
        'window_fall': window_fall, 'window_epochs': window_epochs, 'loss_spearman': rho,
        'chance_loss': chance_loss, 'largest_norm': largest_norm, 'smallest_norm': smallest_norm,
        'depth_slope': depth_slope, 'depth_r2': depth_r2, 'depth_ratio': depth_ratio,
        'spread': spread, 'total_slope': total_slope, 'total_r2': total_r2,
        'first_slope': first_slope, 'first_r2': first_r2, 'bad_epoch': bad_epoch,
        'rules': (SELECT r FROM rules r)
    })::VARCHAR AS evidence
FROM named;
