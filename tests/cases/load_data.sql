-- LOAD DATA in row and statement format.
create database ld;
create table ld.src (id int primary key, s varchar(50), d date, n decimal(10,2)) charset utf8mb4;
insert into ld.src with recursive n(i) as (select 0 union all select i+1 from n where i<2999) select i, concat('row ',i,' é'), '2024-01-01' + interval i%28 day, i/100 from n;
select * from ld.src into outfile '{dir}/data.csv' character set utf8mb4 fields terminated by ',' optionally enclosed by '"';
create table ld.t like ld.src;
load data infile '{dir}/data.csv' into table ld.t character set utf8mb4 fields terminated by ',' optionally enclosed by '"';
delete from ld.t where id>=100;
load data local infile '{dir}/data.csv' ignore into table ld.t character set utf8mb4 fields terminated by ',' optionally enclosed by '"';
