INSERT INTO results
SELECT window_start, max(n) AS most FROM (
  SELECT window_start, window_end, store_id, count(*) AS n
  FROM CUMULATE(CHANGES(customer), create_date, INTERVAL '1' MINUTE, INTERVAL '1' HOUR)
  GROUP BY window_start, window_end, store_id)
GROUP BY window_start;
