-- One transaction per engine.
create database fl;
use fl;
create table t (id int primary key, v int);
set foreign_key_checks=0, unique_checks=0;
insert into t values (1,1);
set foreign_key_checks=1, unique_checks=1;
insert into t values (2,2);
set time_zone='+05:30';
insert into t values (3,unix_timestamp());
set autocommit=0;
insert into t values (4,4);
commit;
set autocommit=1;
