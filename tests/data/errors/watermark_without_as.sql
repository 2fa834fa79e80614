CREATE TABLE orders (id INT, placed TIMESTAMP(3), WATERMARK FOR placed) WITH ('connector' = 'filesystem', 'path' = 'o.jsonl', 'format' = 'json');
