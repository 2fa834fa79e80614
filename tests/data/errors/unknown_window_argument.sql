INSERT INTO results
SELECT window_start, count(*) AS n
FROM TUMBLE(DATA => CHANGES(customer), TIMECOL => DESCRIPTOR(create_date), SIZ => INTERVAL '1' DAY)
GROUP BY window_start, window_end;
