-- Anonymous transactions.
--@ only mysql
--@ gtid off
create database go;
create table go.t (id int primary key, v int);
insert into go.t values (1,1),(2,2);
update go.t set v=5;
delete from go.t where id=1;
