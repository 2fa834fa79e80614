-- Tables as RisingWave's tests of windows have them.

create table t1 (row_id int, uid int, v int, created_at timestamp, watermark for created_at as created_at - interval '1' minute)
with ('connector' = 'filesystem', 'path' = 't1.jsonl', 'format' = 'json');
create table t (tm timestamp, foo int, bar int, watermark for tm as tm - interval '5 minutes') append only
with ('connector' = 'filesystem', 'path' = 't.jsonl', 'format' = 'json');
create table LeftTable (row_time timestamp, num int, id varchar, watermark for row_time as row_time - interval '5' minute)
with ('connector' = 'filesystem', 'path' = 'left.jsonl', 'format' = 'json');
create table RightTable (row_time timestamp, num int, id varchar, watermark for row_time as row_time - interval '5' minute)
with ('connector' = 'filesystem', 'path' = 'right.jsonl', 'format' = 'json');
