-- MariaDB 11.7+: a transaction over binlog_large_commit_threshold is not copied, here one of 132 MB: its cache file is renamed to be the next binlog file.
--@ only mariadb118
--@ global binlog_large_commit_threshold=10485760
create database lc;
create table lc.t (id int primary key auto_increment, pad mediumtext);
insert into lc.t (pad) values ('small before');
create table lc.s (n int primary key);
insert into lc.s with recursive n(i) as (select 0 union all select i+1 from n where i<999) select i from n;
insert into lc.t (pad) select repeat(char(97+b.n%26),20000) from lc.s a join lc.s b where b.n<7 and a.n<940;
insert into lc.t (pad) values ('small after');
