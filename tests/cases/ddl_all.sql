-- DDL of all kinds between rows.
create database ddl;
use ddl;
create table t (id int primary key, a int);
insert into t values (1,10);
alter table t add column b varchar(20) default 'bee';
insert into t values (2,20,'two');
alter table t add column first_c bigint first, add column mid char(3) after id;
insert into t values (3,3,'m',30,'three');
alter table t drop column a;
insert into t values (4,4,'n','four');
alter table t modify b varchar(300) not null default '';
insert into t values (5,5,'o','five');
alter table t change mid middle varchar(10);
insert into t values (6,6,'p','six');
alter table t rename column middle to centre;
alter table t modify first_c int unsigned, add unique key uk (centre), add index ix (b(10));
insert into t values (7,7,'q','seven');
alter table t convert to character set latin1;
insert into t values (8,8,'r','eight');
rename table t to t2;
insert into t2 values (9,9,'s','nine');
alter table t2 rename to t3, add column z int;
insert into t3 values (10,10,'t','ten',100);
create table t like t3;
insert into t select * from t3;
create table swap_a (id int primary key);
create table swap_b (id int primary key, v int);
insert into swap_a values (1);
insert into swap_b values (1,1);
rename table swap_a to swap_tmp, swap_b to swap_a, swap_tmp to swap_b;
insert into swap_a values (2,2);
insert into swap_b values (2);
truncate table t3;
insert into t3 values (11,11,'u','eleven',1);
create table ctas as select id, b, now() as ts, 1.5 as d from t;
create table ctas2 (id int primary key, extra varchar(5) default 'x') select id, centre from t where id<5;
create or replace view v as select id from t;
drop view v;
create index ix2 on t (z);
drop index ix2 on t;
/* leading comment */ alter /* inner */ table `t` add `col with ``tick` int, comment='it''s; a "comment"';
insert into t (id,`col with ``tick`) values (20,1);
create table `sp ace.dot-ünï日本` (`a b` int, `c.d` int);
insert into `sp ace.dot-ünï日本` values (1,2);
alter table `sp ace.dot-ünï日本` add column `é` int;
drop table `sp ace.dot-ünï日本`;
create database `db-2` character set latin1;
create table `db-2`.x (a varchar(10));
insert into `db-2`.x values ('é');
alter database `db-2` character set utf8mb4;
alter table `db-2`.x add b varchar(10), rename to ddl.moved;
insert into ddl.moved values ('m','n');
drop database `db-2`;
create table part (id int, y int, v varchar(10), primary key(id,y)) partition by range (y) (partition p0 values less than (2000), partition p1 values less than (2010), partition pm values less than maxvalue);
insert into part values (1,1999,'a'),(2,2005,'b'),(3,2020,'c');
alter table part drop partition p0;
alter table part reorganize partition pm into (partition p2 values less than (2030), partition pm values less than maxvalue);
alter table part truncate partition p1;
insert into part values (4,2040,'d');
create table ex (id int, y int, v varchar(10), primary key(id,y));
insert into ex values (7,2041,'x');
alter table part exchange partition pm with table ex;
alter table part remove partitioning;
insert into part values (5,1990,'e');
create table multi1 (a int);
drop table if exists multi1, nosuch, ddl.ctas2;
create temporary table tmpt (a int);
alter table tmpt add b int;
drop temporary table tmpt;
create trigger tr before insert on t for each row set new.z = 42;
insert into t (id) values (21);
drop trigger tr;
create procedure pr() select 1;
drop procedure pr;
create function fn() returns int deterministic return 1;
drop function fn;
create event ev on schedule every 1 day disable do select 1;
drop event ev;
create user 'u1'@'localhost' identified by 'Secret#1';
grant select on ddl.* to 'u1'@'localhost';
alter user 'u1'@'localhost' identified by 'Secret#2';
drop user 'u1'@'localhost';
analyze table t;
optimize table t;
flush tables;
create table defs (id int primary key auto_increment, a int default (1+1), b datetime default now() on update now(), c varchar(10) collate utf8mb4_bin, d enum('a','b') default 'b', check (a>0)) engine=innodb auto_increment=100 default charset=utf8mb4;
insert into defs (c) values ('d');
alter table defs alter column a set default 9, alter d drop default;
alter table defs modify d enum('z','a','b','c') default 'c';
insert into defs (c,d) values ('e','z');
alter table defs auto_increment=500;
alter table defs order by c;
alter table defs engine=myisam;
insert into defs (c) values ('my');
alter table defs add fulltext (c), add column pp int;
drop table defs;
--@ on mariadb1011 mariadb118
create or replace table t3 (id int primary key, replaced int);
insert into t3 values (1,1);
alter table if exists t3 add column if not exists q int;
alter table t3 drop column if exists nosuch;
insert into t3 values (2,2,2);
--@ on all
alter table t add column inst int, algorithm=instant;
--@ on mysql
insert into t (id,inst) values (30,3);
--@ on all
alter table t drop column inst, algorithm=instant;
--@ on mysql
insert into t (id) values (31);
alter table t alter index ix invisible;
--@ on mariadb1011 mariadb118
create sequence sq start with 10;
select nextval(sq);
insert into t3 values (nextval(sq),0,0);
alter sequence sq restart 100;
drop sequence sq;
--@ on all
create role r1;
drop role r1;
--@ on mysql
create json relational duality view dv as select json_duality_object(with(insert,update,delete) '_id': id, 'v': v) from swap_a;
insert into dv values ('{"_id": 77, "v": 5}');
--@ on mariadb1011 mariadb118
create or replace database dd;
drop database dd;
--@ on all
--@ fails 1146
insert into nosuch values (1);
--@ fails 1060
alter table t add column id int;
