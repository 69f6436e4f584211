-- Savepoints, rollbacks, engines without transactions.
create database sp;
use sp;
create table i (id int primary key, v varchar(20)) engine=innodb;
create table m (id int primary key, v varchar(20)) engine=myisam;
begin;
insert into i values (1,'kept');
savepoint a;
insert into i values (2,'undone');
rollback to savepoint a;
insert into i values (3,'kept');
savepoint b;
release savepoint b;
commit;
begin;
insert into i values (10,'rolled back');
rollback;
insert into m values (1,'auto');
--@ on mysql
set gtid_next='AUTOMATIC';
--@ on all
begin;
insert into i values (20,'x');
--@ on mysql
--@ fails 1785
insert into m values (20,'stays');
--@ on mariadb1011 mariadb118
insert into m values (20,'stays');
--@ on all
savepoint s1;
--@ on mysql
--@ fails 1785
insert into m values (21,'stays');
--@ on mariadb1011 mariadb118
insert into m values (21,'stays');
--@ on all
insert into i values (21,'y');
rollback to savepoint s1;
commit;
begin;
insert into m values (30,'stays');
insert into i values (30,'gone');
rollback;
begin;
insert into i values (40,'gone');
--@ on mysql
--@ fails 1785
insert into m select id+100, v from m;
--@ on mariadb1011 mariadb118
insert into m select id+100, v from m;
--@ on all
rollback;
update m set v='upd';
delete from m where id<5;
begin;
insert into i values (50,'a');
--@ on mysql
--@ fails 1785
insert into m values (50,'b');
--@ on mariadb1011 mariadb118
create temporary table tt (a int);
insert into m values (50,'b');
drop temporary table tt;
--@ on all
rollback;
