-- ALTER in two phases.
--@ only mariadb1011 mariadb118
set binlog_alter_two_phase=1;
create database a2;
use a2;
create table t (id int primary key, v int);
insert into t values (1,1);
alter table t add column w int;
insert into t values (2,2,2);
alter table t modify w bigint;
--@ fails 1072
alter table t add unique key (nosuch);
insert into t values (3,1,2);
--@ fails 1062
alter table t add unique key uv (v);
insert into t values (4,4,4);
