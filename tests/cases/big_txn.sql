-- One transaction with many rows: 200,000 inserts, then updates, deletes and an insert.
create database big;
create table big.t (id int primary key, k int, pad varchar(60), d datetime, n decimal(12,3));
insert into big.t with recursive n(i) as (select 0 union all select i+1 from n where i<199999) select i, i*7, concat('pad-',i,repeat('x',i%20)), '2024-01-01' + interval i hour, i/1000 from n;
begin;
update big.t set k=k+1 where id%4=0;
delete from big.t where id%10=1;
insert into big.t values (900000,1,'last','2024-01-01',1);
commit;
