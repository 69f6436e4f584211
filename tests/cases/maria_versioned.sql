-- System-versioned tables.
--@ only mariadb1011 mariadb118
create database sv;
create table sv.t (id int primary key, v varchar(10)) with system versioning;
insert into sv.t values (1,'a'),(2,'b');
update sv.t set v='c' where id=1;
delete from sv.t where id=2;
replace into sv.t values (1,'d');
create table sv.ts (id int primary key, v int, s timestamp(6) generated always as row start invisible, e timestamp(6) generated always as row end invisible, period for system_time(s,e), w int without system versioning) with system versioning;
insert into sv.ts (id,v,w) values (1,1,1);
update sv.ts set w=2;
update sv.ts set v=3;
create table sv.app (id int, s date, e date, period for p(s,e), unique (id, p without overlaps));
insert into sv.app values (1,'2020-01-01','2021-01-01');
delete from sv.app for portion of p from '2020-03-01' to '2020-06-01';
create table sv.part (id int) with system versioning partition by system_time interval 1 day partitions 3;
insert into sv.part values (1),(2);
delete from sv.part where id=1;
