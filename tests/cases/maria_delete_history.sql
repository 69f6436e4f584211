-- DELETE HISTORY of a versioned table.
--@ only mariadb1011 mariadb118
create database dh;
create table dh.t (id int primary key, v varchar(10)) with system versioning;
insert into dh.t values (1,'a'),(2,'b');
update dh.t set v='c' where id=1;
delete history from dh.t;
insert into dh.t values (3,'after');
