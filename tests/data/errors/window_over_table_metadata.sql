CREATE TABLE orders (id INT, shop STRING, written TIMESTAMP(3) METADATA FROM 'timestamp',
  WATERMARK FOR written AS written - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'localhost:9092', 'format' = 'debezium-json');
INSERT INTO results
SELECT window_start, shop, count(*) AS n
FROM TUMBLE(orders, written, INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, shop;
