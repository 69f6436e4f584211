-- Rows of 20 MB and 40 MB: events larger than the largest network packet.
create database big_row;
create table big_row.b (id int primary key, lb longblob);
insert into big_row.b values (1,repeat('0123456789abcdef',1310720));
update big_row.b set lb=concat(lb,'END') where id=1;
insert into big_row.b values (2,'small');
insert into big_row.b values (3,repeat('fedcba9876543210',2621440));
update big_row.b set lb='x';
