-- Verdict per trial, from metric columns alone (epochs, layers), the chance loss and how many losses
-- a gradient sums.
-- {rules} is replaced by one row of thresholds; see results/store/diagnosis.py for their meaning.
-- {censored} by the statuses of trials that are known up to an epoch only.
CREATE VIEW diagnosis AS
WITH rules AS ({rules}),
subjects AS (
    SELECT DISTINCT
        v.trial, a.trial_id, a.chance_loss, coalesce(a.loss_terms, 1) AS terms,
        a.status IN ({censored}) AS censored, a.epochs_planned
    FROM attempts a JOIN visible v USING (trial_id, attempt) WHERE a.newest AND NOT v.stale
),
finite AS (  -- epochs with at least one finite step; NaN sorts above all numbers in DuckDB
    SELECT
        trial, epoch, loss, loss_first, loss_ratio, zero_tensors,
        coalesce(grad_norm_max, grad_norm) AS top_norm, grad_norm,
        coalesce(grad_norm_min, grad_norm) AS low_norm,
        CASE WHEN zero_tensors > 0 THEN 0 ELSE grad_norm_smallest END AS smallest,
        row_number() OVER by_epoch AS nth,
        count(*) OVER (PARTITION BY trial) AS n
    FROM numbered_epochs
    WHERE isfinite(loss) AND coalesce(finite_steps, 1) > 0
    WINDOW by_epoch AS (PARTITION BY trial ORDER BY epoch)
),
starts AS (  -- what a trial starts from, and the loss of one that knows nothing
    SELECT
        trial,
        arg_min(coalesce(CASE WHEN isfinite(loss_first) THEN loss_first END, loss), epoch) AS loss_start,
        arg_min(low_norm, epoch) AS norm_start,
        arg_min(loss / nullif(loss_ratio, 0), epoch) AS zero_loss
    FROM finite GROUP BY trial
),
scales AS (  -- what norms are compared with: a gradient that sums terms is that many times as long
    SELECT
        t.trial, t.trial_id, t.chance_loss, t.censored, t.epochs_planned, s.loss_start,
        s.norm_start,
        coalesce(t.chance_loss, s.zero_loss) AS guess_loss,
        greatest(abs(s.loss_start), coalesce(guess_loss, least_loss)) AS start_scale,
        coalesce(guess_loss, greatest(abs(s.loss_start), least_loss)) * t.terms AS loss_scale
    FROM subjects t LEFT JOIN starts s USING (trial), rules
),
windowed AS (  -- the plateau's window: the last k of n epochs; of a trial that was pruned, as many
               -- as it would have had
    SELECT
        f.*,
        greatest(
            plateau_epochs,
            ceil(plateau_share * CASE WHEN censored THEN greatest(n, epochs_planned) ELSE n END)
        ) AS asked,
        n - least(asked, n) + 1 AS from_nth, censored AND n < asked AS short
    FROM finite f JOIN subjects USING (trial), rules
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
bursts AS (  -- first epoch with a norm or a loss out of all proportion, or too great to hold; a
             -- stage that has no loss has no scale of norms
    SELECT trial, min(epoch) AS burst_epoch
    FROM (
        SELECT
            e.trial, e.epoch, e.loss, explode_loss * s.guess_loss AS most_loss,
            explode_growth * greatest(s.norm_start, s.loss_scale) AS most_norm,
            nullif(coalesce(e.grad_norm_max, e.grad_norm), 'nan') AS top_norm,
            greatest(
                nullif(e.loss, 'nan'), nullif(e.loss_first, 'nan'), nullif(e.loss_last, 'nan')
            ) AS top_loss
        FROM numbered_epochs e JOIN scales s USING (trial), rules
    )
    WHERE loss IS NOT NULL AND top_norm > most_norm OR top_loss > most_loss OR isinf(top_loss)
    GROUP BY trial
),
all_norms AS MATERIALIZED (  -- gradient norm of each whole layer, declared frozen or not
    SELECT trial, epoch, layer, grad_norm, coalesce(frozen, false) AS declared
    FROM numbered_layers WHERE tensor = '*' AND isfinite(grad_norm)
),
norms AS (SELECT * EXCLUDE (declared) FROM all_norms WHERE NOT declared),  -- G_l
silent AS MATERIALIZED (SELECT DISTINCT trial FROM norms WHERE grad_norm = 0),
weights AS (  -- of trials with a layer at exactly 0: where tensors that are no bias have a gradient
    SELECT
        trial, epoch, layer, any_value(layer_name) AS layer_name,
        bool_or(grad_norm > 0) AS moves, bool_and(grad_norm > 0) AS moves_whole
    FROM numbered_layers SEMI JOIN silent USING (trial)
    WHERE NOT regexp_matches(tensor, '^([*]|b|b_.*|.*bias.*)$') GROUP BY trial, epoch, layer
),
moving AS (
    SELECT n.*, w.layer_name, w.moves, w.moves_whole
    FROM norms n SEMI JOIN silent USING (trial) LEFT JOIN weights w USING (trial, epoch, layer)
),
lifeless AS (  -- no weight has a gradient: what is left moves biases and reads no input
    SELECT trial, arg_max(idle, epoch) AS idle, min(epoch) FILTER (idle) AS idle_epoch
    FROM (SELECT trial, epoch, NOT bool_or(moves) AS idle FROM moving GROUP BY trial, epoch)
    GROUP BY trial
),
lasting AS (  -- layers at 0 in every step; those that learn from what is below, by their last epoch
    SELECT
        trial, layer, any_value(layer_name) AS layer_name, max(grad_norm) = 0 AS always,
        arg_max(moves_whole, epoch)  -- in a recurrent layer above a dead one only the loop moves
            AND arg_max(grad_norm, epoch) >= any_value(abs_norm * loss_scale) AS learns
    FROM moving JOIN scales USING (trial), rules GROUP BY trial, layer
),
frozen AS (  -- by design, as the next layer that is not learns from what they give it
    SELECT trial, layer, layer_name
    FROM lasting
    QUALIFY always AND coalesce(
        first_value(CASE WHEN NOT always THEN learns END IGNORE NULLS) OVER (
            PARTITION BY trial ORDER BY layer ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ),
        bool_or(learns) OVER (PARTITION BY trial)
    )
),
frozen_names AS (
    SELECT trial, string_agg(layer_name, ', ' ORDER BY layer) AS frozen_layers
    FROM (
        SELECT trial, layer, layer_name FROM frozen
        UNION
        SELECT trial, layer, layer_name FROM numbered_layers WHERE frozen AND tensor = '*'
    )
    GROUP BY trial
),
readouts AS (SELECT trial, max(layer) AS readout FROM all_norms GROUP BY trial),
whole AS (  -- those below the readout with the floor for logarithms, the readout without
    SELECT
        trial, epoch, grad_norm,
        CASE WHEN layer < readout THEN layer END AS layer,
        CASE WHEN layer < readout THEN log10(greatest(grad_norm::DOUBLE, floor_norm)) END AS lg
    FROM norms ANTI JOIN frozen USING (trial, layer) JOIN readouts USING (trial), rules
),
depth AS (
    SELECT
        trial, epoch, min(grad_norm)::DOUBLE AS smallest,
        CASE WHEN count(layer) > 2 THEN regr_slope(lg, layer) END AS slope,
        CASE WHEN count(layer) > 2 THEN regr_r2(lg, layer) END AS r2,
        min_by(lg, layer) AS lg_first, max_by(lg, layer) AS lg_last,
        coalesce(max(lg) - min(lg), 0) AS spread
    FROM whole GROUP BY trial, epoch
),
judged AS (
    SELECT
        trial, f.epoch, d.slope, d.r2, d.spread, d.lg_first,
        10 ** (d.lg_first - d.lg_last) AS ratio,
        coalesce(d.smallest, f.smallest) AS smallest,
        coalesce(d.slope >= depth_slope AND d.r2 >= depth_r2, false)
            OR coalesce(10 ** (d.lg_first - d.lg_last) < depth_ratio, false) AS deep,
        coalesce(d.smallest, f.smallest) < abs_norm * loss_scale AS tiny,
        n - nth < recent_epochs AS recent,
        f.grad_norm
    FROM finite f JOIN scales USING (trial) LEFT JOIN depth d USING (trial, epoch), rules
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
        arg_min(loss, epoch) AS loss_first_epoch,
        arg_max(loss, epoch) AS loss_end,
        arg_max(top_norm, epoch) = 0 AS still,
        max(CASE WHEN isfinite(top_norm) THEN top_norm END) AS largest_norm,
        arg_max(loss - loss_start > rising_loss * start_scale, epoch) AS risen,
        min(epoch) FILTER (loss - loss_start > rising_loss * start_scale) AS rise_epoch,
        min(epoch) FILTER (top_norm = 0) AS still_epoch,
        min(epoch) FILTER (nth = from_nth) AS window_epoch,
        arg_min(loss, epoch) FILTER (nth >= from_nth) AS window_loss,
        count(*) FILTER (nth >= from_nth) AS window_epochs,
        bool_or(short) AS short
    FROM windowed JOIN scales USING (trial), rules GROUP BY trial
),
falls AS (
    SELECT
        course.*,
        (loss_start - loss_end) / nullif(abs(loss_start), 0) AS fall,
        (loss_first_epoch - loss_end) / nullif(abs(loss_first_epoch), 0) AS epochs_fall,
        CASE WHEN window_epochs > 1
            THEN (window_loss - loss_end) / nullif(abs(window_loss), 0) END AS window_fall
    FROM course JOIN scales USING (trial)
),
facts AS (
    SELECT
        g.* EXCLUDE (trial), c.* EXCLUDE (trial), p.* EXCLUDE (trial), s.rho, b.bad_epoch,
        e.burst_epoch, i.idle, i.idle_epoch, z.frozen_layers,
        window_fall < plateau_fall AND window_fall >= -rising_loss
            AND CASE WHEN NOT short THEN true END AS flat,  -- else too few epochs to tell
        coalesce(loss_end <= plateau_loss * guess_loss, loss_end = 0 OR fall >= learned_fall, false)
            AS learned,
        coalesce(epochs >= epochs_min AND epochs_fall < epochs_loss_fall AND (
            total_slope <= epochs_slope AND total_r2 >= epochs_r2
            OR first_slope <= epochs_slope AND first_r2 >= epochs_r2), false) AS fading
    FROM scales g
    LEFT JOIN falls c USING (trial)
    LEFT JOIN profile p USING (trial)
    LEFT JOIN spearman s USING (trial)
    LEFT JOIN bad b USING (trial)
    LEFT JOIN bursts e USING (trial)
    LEFT JOIN lifeless i USING (trial)
    LEFT JOIN frozen_names z USING (trial), rules
),
verdicts AS (
    SELECT
        * EXCLUDE (deep, tiny, fading, still, idle, risen, short),
        burst_epoch IS NOT NULL AS burst,
        coalesce(burst_epoch <= coalesce(bad_epoch, burst_epoch), false)
            AND (bad_epoch IS NOT NULL OR NOT learned) AS exploding,
        bad_epoch IS NOT NULL AS diverged,
        coalesce(still OR idle, false) AND NOT learned AS dead,
        coalesce(risen, false) AND NOT learned AS rising,
        learned AND (coalesce(fall >= converged_fall, false) OR coalesce(flat, false)) AS converged,
        coalesce(deep, false) AND NOT converged AS vanishing_depth,
        coalesce(tiny, false) AND stuck AS vanishing_abs,
        fading AND stuck AS vanishing_epochs,
        flat AND loss_end > plateau_loss * guess_loss AS plateau,
        coalesce(spread <= healthy_spread AND rho <= healthy_rho AND NOT flat, false)
            OR learned AND coalesce(fall >= CASE WHEN still OR idle
                THEN converged_fall ELSE learned_fall END, false) AS healthy
    FROM (SELECT *, guess_loss IS NOT NULL AND NOT learned AS stuck FROM facts), rules
),
named AS (
    SELECT
        *,
        CASE
            WHEN exploding THEN 'exploding'
            WHEN diverged THEN 'diverged'
            WHEN dead THEN 'dead'
            WHEN rising THEN 'rising'
            WHEN (vanishing_depth OR vanishing_abs OR vanishing_epochs) AND plateau THEN 'vanishing'
            WHEN vanishing_depth OR vanishing_abs OR vanishing_epochs THEN 'vanishing_mild'
            WHEN plateau THEN 'plateau'
            WHEN healthy THEN 'healthy'
            WHEN censored THEN 'open'
            ELSE 'undetermined'
        END AS verdict
    FROM verdicts
)
SELECT
    trial_id, verdict,
    CASE verdict
        WHEN 'exploding' THEN burst_epoch
        WHEN 'diverged' THEN bad_epoch
        WHEN 'dead' THEN least(still_epoch, idle_epoch)
        WHEN 'rising' THEN rise_epoch
        WHEN 'vanishing' THEN coalesce(faint_epoch, window_epoch)
        WHEN 'vanishing_mild' THEN coalesce(faint_epoch, window_epoch)
        WHEN 'plateau' THEN window_epoch
    END AS first_bad_epoch,
    exploding, diverged, dead, vanishing_depth, vanishing_abs, vanishing_epochs, plateau, healthy,
    converged, coalesce(epochs, 0) AS epochs, loss_start, loss_end, fall AS loss_fall, window_fall,
    rho AS loss_spearman, chance_loss, largest_norm, smallest_norm, depth_slope, depth_r2,
    depth_ratio, spread, total_slope, first_slope, bad_epoch, rising, burst, burst_epoch,
    norm_start, loss_scale, guess_loss, frozen_layers, censored, epochs_planned,
    w.monitor, w.monitor_start, w.monitor_end, w.monitor_best,
    to_json({
        'loss_start': loss_start, 'loss_end': loss_end, 'loss_fall': fall,
        'window_fall': window_fall, 'window_epochs': window_epochs, 'loss_spearman': rho,
        'chance_loss': chance_loss, 'largest_norm': largest_norm, 'smallest_norm': smallest_norm,
        'depth_slope': depth_slope, 'depth_r2': depth_r2, 'depth_ratio': depth_ratio,
        'spread': spread, 'total_slope': total_slope, 'total_r2': total_r2,
        'first_slope': first_slope, 'first_r2': first_r2, 'bad_epoch': bad_epoch,
        'burst_epoch': burst_epoch, 'norm_start': norm_start, 'loss_scale': loss_scale,
        'guess_loss': guess_loss, 'frozen_layers': frozen_layers,
        'censored': censored, 'epochs': coalesce(epochs, 0), 'epochs_planned': epochs_planned,
        'rules': (SELECT r FROM rules r)
    })::VARCHAR AS evidence
FROM named LEFT JOIN monitored w USING (trial_id);
