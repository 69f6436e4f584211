-- The statement beside its rows.
--@ on mysql
set binlog_rows_query_log_events=ON;
--@ on all
create database rq character set utf8mb4;
use rq;
create table t (id int primary key, v varchar(400));
insert into t values (1,'a'),(2,'b');
/* hint é */ update t set v='日本' where id=1;
delete from t where id=2;
begin;
insert into t values (3,repeat('q',300));
update t set v='z';
commit;
insert into t values (4,'LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL');
--@ on mariadb1011 mariadb118
set binlog_annotate_row_events=OFF;
insert into t values (5,'no annotate');
