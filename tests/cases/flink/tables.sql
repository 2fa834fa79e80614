-- The tables of Flink's own tests and of its documentation.

CREATE TABLE T1 (
  rowtime TIMESTAMP(3), `int` INT, `double` DOUBLE, `float` FLOAT, bigdec DECIMAL(10, 2), `string` STRING, name STRING,
  WATERMARK FOR rowtime AS rowtime - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 't1.jsonl', 'format' = 'json');
CREATE TABLE T2 (
  rowtime TIMESTAMP(3), `int` INT, `double` DOUBLE, `float` FLOAT, bigdec DECIMAL(10, 2), `string` STRING, name STRING,
  WATERMARK FOR rowtime AS rowtime - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 't2.jsonl', 'format' = 'json');
CREATE TABLE T1_CDC (
  id INT, rowtime TIMESTAMP(3), `int` INT, `double` DOUBLE, `float` FLOAT, bigdec DECIMAL(10, 2), `string` STRING, name STRING,
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR rowtime AS rowtime - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 't1_cdc.jsonl', 'format' = 'debezium-json');
CREATE TABLE Bid (
  bidtime TIMESTAMP(3), price DECIMAL(10, 2), item STRING, supplier_id STRING,
  WATERMARK FOR bidtime AS bidtime - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'bid.jsonl', 'format' = 'json');
CREATE TABLE LeftTable (row_time TIMESTAMP(3), num INT, id STRING, WATERMARK FOR row_time AS row_time - INTERVAL '1' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'left.jsonl', 'format' = 'json');
CREATE TABLE RightTable (row_time TIMESTAMP(3), num INT, id STRING, WATERMARK FOR row_time AS row_time - INTERVAL '1' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'right.jsonl', 'format' = 'json');
