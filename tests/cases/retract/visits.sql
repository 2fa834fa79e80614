CREATE TABLE visits (
  id BIGINT, visitor STRING, page STRING, at TIMESTAMP(3),
  PRIMARY KEY (id) NOT ENFORCED,
  WATERMARK FOR at AS at - INTERVAL '20' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'visits', 'properties.bootstrap.servers' = 'none:9092', 'format' = 'debezium-json');
CREATE TABLE results WITH ('connector' = 'blackhole');
