-- MariaDB pre-10.1 temporal formats without fractions (mysql56_temporal_format=OFF): types TIMESTAMP 7, TIME 11, DATETIME 12.
--@ only mariadb1011 mariadb118
--@ global mysql56_temporal_format=OFF
create database types_temporal_old;
set sql_mode='';
set time_zone='+00:00';
create table types_temporal_old.t (id int primary key, d date, y year, time0 time(0) null, datetime0 datetime(0) null, timestamp0 timestamp(0) null);
insert into types_temporal_old.t values (1,'0000-00-00',0,'00:00:00','0000-00-00 00:00:00','0000-00-00 00:00:00');
insert into types_temporal_old.t values (2,'1000-01-01',1901,'-838:59:59','1000-01-01 00:00:00','1970-01-01 00:00:01');
insert into types_temporal_old.t values (3,'9999-12-31',2155,'838:59:59','9999-12-31 23:59:59','2038-01-19 03:14:07');
insert into types_temporal_old.t values (4,'2024-02-29',2024,'-00:00:00','2024-02-29 12:34:56','2024-02-29 12:34:56');
insert into types_temporal_old.t values (5,'2024-00-00',1970,'-00:00:01','2024-00-00 00:00:00','2000-01-01 00:00:00');
insert into types_temporal_old.t values (6,'0000-01-01',1999,'12:34:56','0000-01-01 01:02:03','2001-09-09 01:46:40');
insert into types_temporal_old.t values (7,'2024-11-00',2000,'-12:34:56','2024-11-00 23:59:59','2033-05-18 03:33:20');
insert into types_temporal_old.t values (8,'0001-01-01',1902,'-837:59:59','0001-01-01 00:00:00','1999-12-31 23:59:59');
insert into types_temporal_old.t values (9,'2021-06-15',2021,'100:00:00','2021-06-15 00:00:00','2021-06-15 23:00:01');
insert into types_temporal_old.t values (10,'0000-00-00',0,'-00:00:00','0000-00-00 00:00:00','2010-10-10 10:10:10');
insert into types_temporal_old.t (id) values (50);
update types_temporal_old.t set time0='-00:00:00.001', datetime0='2024-12-31 23:59:59.999', timestamp0='2024-12-31 23:59:59.999', d='2024-12-31' where id in (1,9);
set time_zone='+05:30';
insert into types_temporal_old.t (id,timestamp0,datetime0) values (60,'2024-01-01 00:00:00.5','2024-01-01 00:00:00');
set time_zone='+00:00';
delete from types_temporal_old.t where id in (2,60);
create table types_temporal_old.auto (id int primary key auto_increment, a int, ts timestamp default current_timestamp on update current_timestamp, dt datetime default current_timestamp on update current_timestamp);
insert into types_temporal_old.auto(a) values (1),(2);
update types_temporal_old.auto set a=3;
