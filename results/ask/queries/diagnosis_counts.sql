-- How many trials have each verdict, over the whole store.
SELECT verdict, count(*) AS trials, min(first_bad_epoch) AS earliest_bad_epoch
FROM diagnosis
GROUP BY verdict
ORDER BY trials DESC, verdict;
