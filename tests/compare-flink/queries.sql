-- The queries of the comparison. A query begins with `-- name: what it shows`. Then may come
--   -- differs: why     the rows differ, or one of the engines refuses it, for this reason
--   -- zone: a zone     Flink runs with this session time zone; our times are shown in it
--   -- flink, highwater the SQL that follows is for this engine only

-- tumble: TUMBLE: count, sum, min, max of a key
SELECT k, window_start, window_end, COUNT(*) AS c, COUNT(n) AS cn, SUM(n) AS sn, MIN(d) AS d1, MAX(d) AS d2, MAX(s) AS s2
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- tumble_all: TUMBLE without another key, `window_time`
SELECT window_start, window_end, window_time, COUNT(*) AS c, SUM(d) AS sd
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, window_time

-- tumble_names: named arguments
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(DATA => TABLE clicks, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '7' SECOND))
GROUP BY window_start, window_end

-- tumble_offset: TUMBLE with an offset
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '17' SECOND))
GROUP BY window_start, window_end

-- tumble_negative_offset: TUMBLE with a negative offset
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY, INTERVAL '-8' HOUR))
GROUP BY window_start, window_end

-- tumble_day: TUMBLE of a day
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end

-- tumble_week: TUMBLE of seven days: they begin on Thursdays
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '7' DAY))
GROUP BY window_start, window_end

-- tumble_month: TUMBLE of 30 days
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '30' DAY))
GROUP BY window_start, window_end

-- tumble_milliseconds: TUMBLE of half a second
SELECT k, window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '0.5' SECOND))
GROUP BY k, window_start, window_end

-- tumble_filter: FILTER, DISTINCT, both
SELECT k, window_start, window_end, COUNT(*) FILTER (WHERE flag) AS c, SUM(n) FILTER (WHERE n > 0) AS sn,
       COUNT(DISTINCT s) AS ds, COUNT(DISTINCT s) FILTER (WHERE flag IS TRUE) AS dsf, SUM(DISTINCT n) AS dn
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '30' SECOND))
GROUP BY k, window_start, window_end

-- tumble_expressions: expressions in keys and aggregates, CASE, COALESCE
SELECT window_start, window_end, COALESCE(k, 'none') AS kk, UPPER(s) AS us, SUM(CASE WHEN n > 0 THEN n ELSE 0 END) AS pos,
       MAX(ABS(n) + 1) AS m, COUNT(*) * 2 AS twice
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, COALESCE(k, 'none'), UPPER(s)

-- tumble_where: WHERE over the window's rows
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE k = 'a' AND n IS NOT NULL
GROUP BY window_start, window_end

-- tumble_having: HAVING
SELECT k, window_start, window_end, SUM(n) AS sn
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end
HAVING COUNT(*) > 4 AND SUM(n) > 0

-- tumble_over_view: a window over a sub-query that filters and computes
WITH good AS (SELECT ts, k, n * 2 AS n2 FROM clicks WHERE n > 0)
SELECT k, window_start, window_end, SUM(n2) AS sn
FROM TABLE(TUMBLE(TABLE good, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- decimals: sum, min, max of decimals
SELECT k, window_start, window_end, SUM(p) AS sp, MIN(p) AS p1, MAX(p) AS p2
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- decimal_avg: averages of decimals and doubles
-- differs: the sixth digit after the point: Flink rounds it, ours is cut off
SELECT k, window_start, window_end, AVG(p) AS ap, AVG(d) AS ad
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- integer_avg: averages of integers
-- differs: Flink's average of an INT is an INT, cut off; ours is a DOUBLE
SELECT k, window_start, window_end, AVG(n) AS an
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- integer_sum: a sum beyond the range of INT
-- differs: Flink's sum of an INT is an INT and overflows without a word; ours is a BIGINT
SELECT window_start, window_end, SUM(CAST(2000000000 + n AS INT)) AS sn
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' MINUTE))
GROUP BY window_start, window_end

-- statistics: standard deviation and variance
SELECT k, window_start, window_end, STDDEV_POP(d) AS p1, STDDEV_SAMP(d) AS p2, VAR_POP(d) AS p3, VAR_SAMP(d) AS p4
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- first_last: FIRST_VALUE and LAST_VALUE
SELECT k, window_start, window_end, FIRST_VALUE(n) AS f, LAST_VALUE(n) AS l
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE n IS NOT NULL
GROUP BY k, window_start, window_end

-- first_last_null: FIRST_VALUE and LAST_VALUE where there are NULLs
-- differs: Flink passes over NULLs; ours takes them, as standard SQL does. `FILTER (WHERE n IS NOT NULL)` passes over them in both
SELECT k, window_start, window_end, FIRST_VALUE(n) AS f, LAST_VALUE(n) AS l
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- first_filter: FIRST_VALUE and LAST_VALUE with FILTER
SELECT k, window_start, window_end, FIRST_VALUE(n) FILTER (WHERE n IS NOT NULL) AS f, LAST_VALUE(n) FILTER (WHERE n IS NOT NULL) AS l
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- hop: HOP
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn, MIN(d) AS d1, COUNT(DISTINCT s) AS ds
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '30' SECOND))
GROUP BY k, window_start, window_end

-- hop_offset: HOP with an offset
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '12' HOUR, INTERVAL '1' DAY, INTERVAL '-8' HOUR))
GROUP BY window_start, window_end

-- hop_not_a_multiple: HOP whose size is not a multiple of the slide
-- differs: Flink refuses it
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '30' SECOND))
GROUP BY window_start, window_end

-- cumulate: CUMULATE
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn, COUNT(DISTINCT s) AS ds
FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- cumulate_offset: CUMULATE with an offset
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE, INTERVAL '3' MINUTE))
GROUP BY window_start, window_end

-- cumulate_on_update: CUMULATE with `emitOnlyOnUpdate`
-- differs: Flink 2.3 takes the argument and passes over it (FLINK-39030 came later)
SELECT k, window_start, window_end, COUNT(*) AS c
FROM TABLE(CUMULATE(DATA => TABLE clicks, TIMECOL => DESCRIPTOR(ts), STEP => INTERVAL '1' SECOND, SIZE => INTERVAL '10' SECOND, emitOnlyOnUpdate => true))
GROUP BY k, window_start, window_end

-- session: SESSION of a key
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn, COUNT(DISTINCT s) AS ds
FROM TABLE(SESSION(TABLE clicks PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND))
GROUP BY k, window_start, window_end

-- session_all: SESSION without a key
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(SESSION(TABLE clicks, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY window_start, window_end

-- session_two_keys: SESSION of two keys
SELECT k, s, window_start, window_end, window_time, COUNT(*) AS c
FROM TABLE(SESSION(TABLE clicks PARTITION BY (k, s), DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, s, window_start, window_end, window_time

-- session_more_groups: more keys in GROUP BY than in PARTITION BY
SELECT k, flag, window_start, window_end, COUNT(*) AS c
FROM TABLE(SESSION(TABLE clicks PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND))
GROUP BY k, flag, window_start, window_end

-- grouping_sets: GROUPING SETS
SELECT k, flag, window_start, window_end, GROUPING(k) AS gk, COUNT(*) AS c, SUM(p) AS sp, COUNT(DISTINCT s) AS ds
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, GROUPING SETS ((k, flag), (k), (flag), ())

-- rollup: ROLLUP
SELECT k, flag, window_start, window_end, COUNT(*) AS c, MAX(n) AS mn
FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, ROLLUP (k, flag)

-- cube: CUBE
SELECT k, flag, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn
FROM TABLE(CUMULATE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, CUBE (k, flag)

-- top_n: the two best keys of each window
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY c DESC, k) AS place FROM (
    SELECT COALESCE(k, '') AS k, window_start, window_end, COUNT(*) AS c
    FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY COALESCE(k, ''), window_start, window_end))
WHERE place <= 2

-- top_n_nulls: the best by a sum that may be NULL
-- differs: NULL is the least value in Flink, and the greatest here, as in PostgreSQL. `NULLS LAST` says it for both
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY sn DESC, k) AS place FROM (
    SELECT COALESCE(k, '') AS k, window_start, window_end, SUM(n) AS sn
    FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND))
    GROUP BY COALESCE(k, ''), window_start, window_end))
WHERE place <= 2

-- top_n_nulls_last: the best by a sum that may be NULL, which is last
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY sn DESC NULLS LAST, k) AS place FROM (
    SELECT COALESCE(k, '') AS k, window_start, window_end, SUM(n) AS sn
    FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND))
    GROUP BY COALESCE(k, ''), window_start, window_end))
WHERE place <= 2

-- top_n_offset: the second and third of each window
SELECT window_start, window_end, k, c FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY c DESC, k) AS place FROM (
    SELECT COALESCE(k, '') AS k, window_start, window_end, COUNT(*) AS c
    FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND))
    GROUP BY COALESCE(k, ''), window_start, window_end))
WHERE place > 1 AND place <= 3

-- top_n_rows: the three dearest rows of each window
SELECT window_start, window_end, k, n, p, place FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY p DESC, n, k, ts) AS place
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  WHERE p IS NOT NULL AND n IS NOT NULL AND k IS NOT NULL)
WHERE place <= 3

-- keep_first: the first row of each key in each window
SELECT window_start, window_end, window_time, k, n, ts FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts ASC) AS place
  FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
WHERE place = 1

-- keep_last: the last row of each key in each window
-- differs: of rows with the same time Flink takes the last that came, ours is the first. SQL leaves it open; a second column in ORDER BY settles it
SELECT window_start, window_end, k, n, ts FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC) AS place
  FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
WHERE place <= 1

-- keep_last_settled: the last row of each key in each window, with a second column in ORDER BY
SELECT window_start, window_end, k, n, ts FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY ts DESC, n DESC NULLS LAST, p DESC NULLS LAST) AS place
  FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)))
WHERE place <= 1

-- again: a second aggregation over the rows of a window
SELECT window_start, window_end, c, COUNT(*) AS keys_ FROM (
  SELECT k, window_start, window_end, COUNT(*) AS c
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY k, window_start, window_end)
GROUP BY window_start, window_end, c

-- window_over_window: windows of ten seconds into windows of a minute
WITH seconds AS (
  SELECT k, window_time AS rowtime, COUNT(*) AS c, SUM(n) AS sn
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY k, window_start, window_end, window_time)
SELECT k, window_start, window_end, SUM(c) AS c, SUM(sn) AS sn, MAX(c) AS most
FROM TABLE(TUMBLE(TABLE seconds, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))
GROUP BY k, window_start, window_end

-- hop_over_window: windows of ten seconds into sliding ones
WITH seconds AS (
  SELECT window_time AS rowtime, COUNT(*) AS c
  FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end, window_time)
SELECT window_start, window_end, SUM(c) AS c
FROM TABLE(HOP(TABLE seconds, DESCRIPTOR(rowtime), INTERVAL '20' SECOND, INTERVAL '1' MINUTE))
GROUP BY window_start, window_end

-- join_inner: INNER JOIN of two windowed aggregations
SELECT a.k, a.window_start, a.window_end, a.c AS sold, b.c AS refunded
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) a
JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- join_left: LEFT JOIN of windows
SELECT a.k, a.window_start, a.window_end, a.c AS sold, b.c AS refunded
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) a
LEFT JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- join_right: RIGHT JOIN of windows
SELECT b.k, b.window_start, b.window_end, a.c AS sold, b.c AS refunded
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) a
RIGHT JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- join_full: FULL JOIN of windows
SELECT COALESCE(a.k, b.k) AS k, COALESCE(a.window_start, b.window_start) AS ws, COALESCE(a.window_end, b.window_end) AS we, a.c AS sold, b.c AS refunded
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) a
FULL JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- join_rows: a window join of rows, with a condition of its own
SELECT a.window_start, a.window_end, a.k, a.n AS n1, b.n AS n2
FROM (SELECT * FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
JOIN (SELECT * FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k AND a.n < b.n

-- join_three: a window join of three streams
SELECT a.window_start, a.window_end, a.k, a.c AS c1, b.c AS c2, d.c AS c3
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '30' SECOND)) GROUP BY k, window_start, window_end) a
JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '30' SECOND)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k
JOIN (SELECT k, window_start, window_end, SUM(n) AS c
      FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '30' SECOND)) GROUP BY k, window_start, window_end) d
ON a.window_start = d.window_start AND a.window_end = d.window_end AND a.k = d.k

-- join_then_aggregate: an aggregation over a window join
SELECT window_start, window_end, COUNT(*) AS c, SUM(sold - refunded) AS more FROM (
  SELECT a.window_start, a.window_end, a.k, a.c AS sold, COALESCE(b.c, 0) AS refunded
  FROM (SELECT k, window_start, window_end, COUNT(*) AS c
        FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) a
  LEFT JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
        FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end) b
  ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k)
GROUP BY window_start, window_end

-- join_cumulate: LEFT JOIN of cumulating windows
SELECT a.k, a.window_start, a.window_end, a.c AS sold, b.c AS refunded
FROM (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(CUMULATE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end) a
LEFT JOIN (SELECT k, window_start, window_end, COUNT(*) AS c
      FROM TABLE(CUMULATE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE)) GROUP BY k, window_start, window_end) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- top_n_join: the best of each window of a join
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n1 DESC, n2 DESC, k) AS place FROM (
    SELECT a.window_start, a.window_end, a.k, a.n AS n1, b.n AS n2
    FROM (SELECT * FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE n > 0) a
    JOIN (SELECT * FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE n > 0) b
    ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k))
WHERE place = 1

-- join_rows_full: a full window join of rows
SELECT a.window_start AS s1, b.window_start AS s2, a.k AS k1, b.k AS k2, a.n AS n1, b.n AS n2
FROM (SELECT * FROM TABLE(HOP(TABLE sales, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) a
FULL JOIN (SELECT * FROM TABLE(HOP(TABLE refunds, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))) b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k

-- semi_join: rows whose key is in the other window too
SELECT a.window_start, a.window_end, a.k, a.n
FROM (SELECT * FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
WHERE a.k IN (
  SELECT b.k FROM (SELECT * FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
  WHERE a.window_start = b.window_start AND a.window_end = b.window_end)

-- anti_join: rows whose key is not in the other window
SELECT a.window_start, a.window_end, a.k, a.n
FROM (SELECT * FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
WHERE NOT EXISTS (
  SELECT * FROM (SELECT * FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
  WHERE a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end)

-- not_in: rows whose key is not in the other window, as NOT IN: with a NULL there, none
SELECT a.window_start, a.window_end, a.k, a.n
FROM (SELECT * FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND))) a
WHERE a.k NOT IN (
  SELECT b.k FROM (SELECT * FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND))) b
  WHERE a.window_start = b.window_start AND a.window_end = b.window_end)

-- union_all: a window over UNION ALL
WITH both_ AS (SELECT ts, k, n FROM sales UNION ALL SELECT ts, k, -n AS n FROM refunds)
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn
FROM TABLE(TUMBLE(TABLE both_, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- union_all_windows: UNION ALL of windowed aggregations
SELECT 'sold' AS what, k, window_start, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end
UNION ALL
SELECT 'refunded' AS what, k, window_start, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE refunds, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end

-- rows: rows with their windows, without an aggregation
SELECT window_start, window_end, k, n
FROM TABLE(HOP(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '30' SECOND))

-- rows_late: rows with their windows: where nothing waits for the end of a window, nothing is late
SELECT window_start, window_end, k, n
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))

-- retract_tumble: a table that changes: sums of a group
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp, SUM(n) AS sn, COUNT(status) AS cs
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_min: a table that changes: min, max, distinct
SELECT shop, window_start, window_end, MIN(price) AS p1, MAX(price) AS p2, MIN(n) AS n1, MAX(status) AS s2, COUNT(DISTINCT status) AS ds, COUNT(DISTINCT n) AS dn
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_avg: a table that changes: averages, FILTER
SELECT shop, window_start, window_end, AVG(CAST(n AS DOUBLE)) AS an, COUNT(*) FILTER (WHERE status = 'paid') AS paid, SUM(price) FILTER (WHERE status IS NULL) AS none_
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_stddev: a table that changes: standard deviation
-- differs: Flink merges parts that take rows back wrongly; with `table.optimizer.agg-phase-strategy` = ONE_PHASE it has our numbers, which are those of the rows that remain
SELECT shop, window_start, window_end, STDDEV_POP(CAST(n AS DOUBLE)) AS dn
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_where: a table that changes, filtered by a column that changes
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
WHERE status = 'sent'
GROUP BY shop, window_start, window_end

-- retract_hop: a table that changes: HOP
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp, MAX(price) AS p2, COUNT(DISTINCT status) AS ds
FROM TABLE(HOP(TABLE orders, DESCRIPTOR(placed), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
GROUP BY shop, window_start, window_end

-- retract_cumulate: a table that changes: CUMULATE
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp, MIN(price) AS p1
FROM TABLE(CUMULATE(TABLE orders, DESCRIPTOR(placed), INTERVAL '10' SECOND, INTERVAL '1' MINUTE))
GROUP BY shop, window_start, window_end

-- retract_session: a table that changes: SESSION
-- differs: without one of its rows our session is shorter, or two; Flink's stays as it was
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp
FROM TABLE(SESSION(TABLE orders PARTITION BY shop, DESCRIPTOR(placed), INTERVAL '4' SECOND))
GROUP BY shop, window_start, window_end

-- retract_sets: a table that changes: GROUPING SETS and HAVING
SELECT shop, status, window_start, window_end, COUNT(*) AS c, MAX(price) AS p2
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, GROUPING SETS ((shop, status), (shop), ())
HAVING COUNT(*) > 1

-- retract_first: a table that changes: FIRST_VALUE and LAST_VALUE
-- differs: rows of a table have no order: Flink takes that of the changes, ours is that of the values; ORDER BY in the aggregate (which Flink does not have) says another
SELECT shop, window_start, window_end, FIRST_VALUE(price) AS f, LAST_VALUE(price) AS l
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_over_window: windows of a table that changes into larger ones
WITH seconds AS (
  SELECT shop, window_time AS rowtime, COUNT(*) AS c, MAX(price) AS p2
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '10' SECOND))
  GROUP BY shop, window_start, window_end, window_time)
SELECT shop, window_start, window_end, SUM(c) AS c, MAX(p2) AS p2
FROM TABLE(TUMBLE(TABLE seconds, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))
GROUP BY shop, window_start, window_end

-- retract_top_n: a table that changes: the best shop of each window
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY sp DESC, shop) AS place FROM (
    SELECT shop, window_start, window_end, SUM(price) AS sp
    FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(placed), INTERVAL '1' MINUTE))
    GROUP BY shop, window_start, window_end))
WHERE place = 1

-- retract_late: changes of closed windows: each half of an update counts where its window is open
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp, MAX(price) AS p2
FROM TABLE(TUMBLE(TABLE old_orders, DESCRIPTOR(placed), INTERVAL '30' SECOND))
GROUP BY shop, window_start, window_end

-- retract_unmatched: a delete of a row that was never seen
-- differs: Flink counts it as -1, so that it hides a row that is there, or makes a negative one; we count it as `unmatched_retractions` and write a dead letter
SELECT shop, window_start, window_end, COUNT(*) AS c, SUM(price) AS sp
FROM TABLE(TUMBLE(TABLE half_orders, DESCRIPTOR(placed), INTERVAL '1' MINUTE))
GROUP BY shop, window_start, window_end

-- days_in_zone: days of a time zone, of 23 and 25 hours
-- zone: Europe/Berlin
-- flink
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE hourly, DESCRIPTOR(ts), INTERVAL '1' DAY))
GROUP BY window_start, window_end
-- highwater
SELECT window_start, window_end, COUNT(*) AS c
FROM TUMBLE(hourly, ts, INTERVAL '1' DAY, TIME ZONE 'Europe/Berlin')
GROUP BY window_start, window_end

-- hours_in_zone: hours in a time zone: the hour that comes twice
-- differs: Flink counts in local time, in which both hours at the end of summer time are one; ours are hours of the clock
-- zone: Europe/Berlin
SELECT window_start, window_end, COUNT(*) AS c
FROM TABLE(TUMBLE(TABLE hourly, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end

-- no_time: a row without an event time
-- differs: Flink's job stops; ours writes a dead letter and goes on
SELECT window_start, window_end, COUNT(*) AS c, SUM(n) AS sn
FROM TABLE(TUMBLE(TABLE timeless, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end

-- edge: a row one millisecond before the end of its window, then another one before it
-- differs: Flink closes a window when the watermark is a millisecond before its end, we when it has reached it: for us the row is in time
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn
FROM TABLE(TUMBLE(TABLE edges, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end

-- session_edge: rows exactly one gap apart, where the clock is at that very edge
-- differs: rows a gap apart are of one session in both. Flink has closed it when the clock is at its end, we when it is after it; so ours does not depend on other keys
SELECT k, window_start, window_end, COUNT(*) AS c, SUM(n) AS sn
FROM TABLE(SESSION(TABLE edges PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY k, window_start, window_end
