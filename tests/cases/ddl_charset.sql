-- The client's own character set: names and statements whose bytes in the log are not UTF-8.
create database dcs;
--@ as cs_latin1 in latin1
use dcs;
create table `t_café` (id int primary key, `c_café` varchar(20) character set utf8mb4 default 'café' comment 'café');
insert into `t_café` values (1,'café');
alter table `t_café` add column x int comment 'café';
insert into `t_café` values (2,'café',5);
--@ as cs_gbk in gbk
use dcs;
create table `t_中文` (id int primary key, `c_中文` varchar(20) character set utf8mb4 default '中文' comment '中文');
insert into `t_中文` values (1,'中文');
alter table `t_中文` add column x int comment '中文';
insert into `t_中文` values (2,'中文',5);
--@ as cs_sjis in sjis
use dcs;
create table `t_表示` (id int primary key, `c_表示` varchar(20) character set utf8mb4 default '表示' comment '表示');
insert into `t_表示` values (1,'表示');
alter table `t_表示` add column x int comment '表示';
insert into `t_表示` values (2,'表示',5);
--@ as cs_utf8mb4 in utf8mb4
use dcs;
create table `t_日` (id int primary key, `c_本` varchar(20) character set utf8mb4 default '日😀' comment '日😀');
insert into `t_日` values (1,'日😀');
alter table `t_日` add column x int comment '日😀';
insert into `t_日` values (2,'日😀',5);
--@ as cs_cp1251 in cp1251
use dcs;
create table `t_Привет` (id int primary key, `c_Привет` varchar(20) character set utf8mb4 default 'Привет' comment 'Привет');
insert into `t_Привет` values (1,'Привет');
alter table `t_Привет` add column x int comment 'Привет';
insert into `t_Привет` values (2,'Привет',5);
