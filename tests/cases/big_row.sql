-- A row of 17 MB and its update: events larger than the largest network packet.
create database big_row;
create table big_row.b (id int primary key, lb longblob);
insert into big_row.b values (1,repeat('0123456789abcdef',1114112));
update big_row.b set lb=concat(lb,'END') where id=1;
insert into big_row.b values (2,'small');
update big_row.b set lb='x';
