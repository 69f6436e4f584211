-- One statement over many row events (8 KB each) and several tables in one statement: table map and row flags (STMT_END).
create database se;
use se;
create table a (id int primary key, v varchar(200));
create table b like a;
insert into a with recursive n(i) as (select 0 union all select i+1 from n where i<999) select i, repeat('v',150) from n;
insert into b select * from a;
update a straight_join b on a.id=b.id set a.v='A', b.v='B';
delete a, b from a straight_join b on a.id=b.id where a.id%2=0;
begin;
insert into a values (5001,'x');
insert into b values (5001,'x');
insert into a values (5002,'x');
update b set v='q' where id<100;
commit;
