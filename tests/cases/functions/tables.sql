-- One row with a value of each kind.
CREATE TABLE v (
  n INT, s STRING, d DOUBLE, ts TIMESTAMP(3), until TIMESTAMP(3), day DATE, js STRING, sec BIGINT,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = 'v.jsonl', 'format' = 'json');
CREATE TABLE results WITH ('connector' = 'blackhole');
