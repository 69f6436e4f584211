-- Generated and invisible columns.
create database gen;
create table gen.g (id int primary key auto_increment, a int, b int, vs int generated always as (a+b) virtual, st int generated always as (a*b) stored, j json, jn int generated always as (json_extract(j,'$.n')) stored, inv varchar(20) invisible default 'hidden', inv2 int invisible default 5, e varchar(40) default (concat('x',1)), key(vs));
insert into gen.g (a,b,j) values (1,2,'{"n":7}'),(3,4,null);
insert into gen.g (a,b,inv) values (5,6,'seen');
update gen.g set a=10 where id=1;
delete from gen.g where id=2;
create table gen.vfirst (v int generated always as (x+1) virtual, x int, w varchar(20) generated always as (concat('w',x)) virtual, y int) ;
insert into gen.vfirst (x,y) values (1,2),(3,4);
update gen.vfirst set x=7 where y=2;
--@ on mysql
set sql_generate_invisible_primary_key=1;
create table gen.gipk (a int, b varchar(10));
insert into gen.gipk values (1,'x'),(2,'y');
delete from gen.gipk where a=1;
set sql_generate_invisible_primary_key=0;
create table gen.fidx (id int primary key, a int, s varchar(50), j json, key k1 ((a*2)), key k2 ((lower(s))), key k3 ((cast(j->'$.t' as char(10) array))));
insert into gen.fidx values (1,2,'ABC','{"t":["p","q"]}');
update gen.fidx set s='DEF', a=9;
delete from gen.fidx;
