-- A table versioned by transaction: MariaDB logs its updates as statements whatever the format.
--@ only mariadb1011 mariadb118
create database sx;
create table sx.x (id int primary key, v int, s bigint unsigned generated always as row start, e bigint unsigned generated always as row end, period for system_time(s,e)) with system versioning engine=innodb;
insert into sx.x values (1,1,default,default);
update sx.x set v=2;
