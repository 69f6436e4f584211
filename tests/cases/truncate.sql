-- TRUNCATE.
create database tr;
use tr;
create table t (id int primary key auto_increment, v int);
insert into t (v) values (1),(2),(3);
truncate table t;
insert into t (v) values (4);
truncate t;
begin;
insert into t (v) values (5);
truncate tr.t;
insert into t (v) values (6);
commit;
delete from t;
insert into t (v) values (7);
create table m (id int) engine=myisam;
insert into m values (1);
truncate table m;
delete from m;
