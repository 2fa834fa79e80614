CREATE MATERIALIZED VIEW minutes AS
SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE) GROUP BY window_start;
