SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), PROCTIME(), INTERVAL '1' MINUTE) GROUP BY window_start, window_end;
