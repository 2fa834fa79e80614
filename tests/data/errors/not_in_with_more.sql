INSERT INTO results
SELECT window_start, email FROM (SELECT * FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE)) AS a
WHERE email NOT IN (
  SELECT email FROM (SELECT * FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE)) AS b
  WHERE a.window_start = b.window_start AND a.window_end = b.window_end AND a.store_id = b.store_id);
