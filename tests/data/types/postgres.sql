-- The table all_types of PostgreSQL, with extreme values. On the right what it is there.
CREATE TABLE all_types (
  id INT PRIMARY KEY NOT ENFORCED,
  si SMALLINT,
  i INT,
  bi BIGINT,
  n102 DECIMAL(10, 2),
  n3810 DECIMAL(38, 10),
  n STRING,                  -- NUMERIC, of any scale
  r FLOAT,                   -- REAL
  d DOUBLE,
  m DECIMAL(19, 2),          -- MONEY
  dt DATE,
  t TIME,                    -- TIME, which has six digits
  t3 TIME(3),
  ttz TIME(6),               -- TIMETZ, in UTC
  ts TIMESTAMP(6),           -- TIMESTAMP
  ts3 TIMESTAMP(3),
  tstz STRING,               -- TIMESTAMPTZ with 'infinity'; without, TIMESTAMP_LTZ(6)
  iv STRING,                 -- INTERVAL: microseconds, or ISO 8601
  b BOOLEAN,
  c STRING,                  -- CHAR(5)
  v STRING,                  -- VARCHAR(50)
  tx STRING,                 -- TEXT
  j JSON,
  jb JSON,                   -- JSONB
  u UUID,
  by BYTES,                  -- BYTEA
  ai ARRAY<INT>,
  at ARRAY<STRING>,
  an ARRAY<DECIMAL(10, 2)>,
  ip STRING,                 -- INET
  ci STRING,                 -- CIDR
  ma STRING,                 -- MACADDR
  h JSON,                    -- HSTORE
  e STRING,                  -- an ENUM
  b1 BIT(1),
  b8 BIT(8),
  vb BIT VARYING(16),
  x STRING,                  -- XML
  pt JSON,                   -- POINT
  r4 STRING,                 -- INT4RANGE
  big STRING                 -- TEXT that is kept apart (TOAST)
) WITH ('connector' = 'kafka', 'format' = 'debezium-json');
