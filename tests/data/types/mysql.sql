-- The table all_types of MySQL and MariaDB, with extreme values. On the right what it is there.
CREATE TABLE all_types (
  id INT PRIMARY KEY NOT ENFORCED,
  ti TINYINT,
  tu TINYINT UNSIGNED,
  bo BOOLEAN,                -- BOOLEAN, TINYINT(1)
  si SMALLINT,
  su SMALLINT UNSIGNED,
  mi INT,                    -- MEDIUMINT
  mu INT UNSIGNED,           -- MEDIUMINT UNSIGNED
  i INT,
  iu INT UNSIGNED,
  bi BIGINT,
  bu BIGINT UNSIGNED,
  d102 DECIMAL(10, 2),
  d3810 DECIMAL(38, 10),
  d180 DECIMAL(18, 0),
  f FLOAT,
  d DOUBLE,
  dt DATE,
  t TIME,
  t6 TIME(6),
  dtm TIMESTAMP(0),          -- DATETIME
  dtm3 TIMESTAMP(3),         -- DATETIME(3)
  dtm6 TIMESTAMP(6),         -- DATETIME(6)
  ts TIMESTAMP_LTZ(0),       -- TIMESTAMP
  ts3 TIMESTAMP_LTZ(3),      -- TIMESTAMP(3)
  ts6 TIMESTAMP_LTZ(6),      -- TIMESTAMP(6)
  y SMALLINT,                -- YEAR
  c STRING,                  -- CHAR(5)
  v STRING,                  -- VARCHAR(50)
  tx STRING,                 -- TEXT
  ltx STRING,                -- LONGTEXT
  j JSON,
  e STRING,                  -- ENUM('small', 'big')
  s STRING,                  -- SET('a', 'b', 'c')
  b1 BIT(1),
  b8 BIT(8),
  b64 BIT(64),
  bn BYTES,                  -- BINARY(4)
  vb BYTES,                  -- VARBINARY(10)
  bl BYTES                   -- BLOB
) WITH ('connector' = 'kafka', 'format' = 'debezium-json');
