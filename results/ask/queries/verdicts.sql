-- Verdict of every trial with the numbers it rests on, beside its config.
SELECT d.* EXCLUDE (evidence), t.config
FROM diagnosis d
JOIN trials t USING (trial_id)
ORDER BY d.verdict, d.trial_id;
