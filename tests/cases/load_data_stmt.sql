-- LOAD DATA in statement format: the file's blocks are in the log, the rows are not.
create database lds;
create table lds.t (id int primary key, s varchar(50));
insert into lds.t values (1,'one'),(2,'two');
select * from lds.t into outfile '{dir}/data.csv';
delete from lds.t;
set binlog_format=STATEMENT;
load data infile '{dir}/data.csv' into table lds.t;
