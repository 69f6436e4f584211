-- All kinds of DML: many rows, several tables, foreign keys, triggers, procedures, interleaved transactions.
create database dml;
use dml;
create table t (id int primary key auto_increment, k int unique, s varchar(50), n decimal(10,2));
insert into t (k,s,n) values (1,'a',1.1),(2,'b',2.2),(3,'c',3.3),(4,'d',4.4),(5,'e',5.5);
update t set n=n*2, s=concat(s,s) where k between 2 and 4;
delete from t where k in (1,5);
insert into t (k,s,n) values (2,'dup',0),(9,'new',9) on duplicate key update s=values(s), n=n+1;
replace into t (k,s,n) values (3,'replaced',33),(10,'ten',10);
insert ignore into t (k,s) values (3,'ignored'),(11,'eleven');
update t set id=id+1000 where k=11;
update t set s='same' where s='same';
update t set s=s;
update t set k=k where k=9;
create table u (id int primary key, tid int, v text);
insert into u select id, k, repeat(s,3) from t;
update t join u on t.id=u.id set t.s='joined', u.v='joined' where t.k<10;
delete t,u from t join u on t.id=u.id where t.k=9;
create table nopk (a int, b varchar(10));
insert into nopk values (1,'x'),(1,'x'),(2,'y'),(null,null);
update nopk set b='z' where a=1;
delete from nopk where a=1 limit 1;
create table parent (id int primary key, v int) engine=innodb;
create table child (id int primary key, pid int, pid2 int, foreign key (pid) references parent(id) on delete cascade on update cascade, foreign key (pid2) references parent(id) on delete set null on update cascade) engine=innodb;
insert into parent values (1,1),(2,2),(3,3);
insert into child values (10,1,2),(11,1,3),(12,2,1),(13,3,3);
update parent set id=100 where id=1;
delete from parent where id=2;
delete from parent where id=3;
create table audit (id int primary key auto_increment, what varchar(20), tid int);
create trigger t_ai after insert on t for each row insert into audit(what,tid) values ('ins',new.id);
create trigger t_au after update on t for each row insert into audit(what,tid) values ('upd',new.id);
insert into t (k,s) values (50,'trig'),(51,'trig2');
update t set s='trig3' where k>=50;
create procedure p() begin declare i int default 0; while i<5 do insert into u values (5000+i,i,'proc'); set i=i+1; end while; end;
call p();
begin;
insert into t (k,s) values (60,'txn');
insert into u values (6000,1,'txn');
delete from nopk where a=2;
update t set s='txn2' where k=60;
commit;
begin;
insert into t (k,s) values (70,'rolled back');
rollback;
create temporary table tmp (a int);
insert into tmp values (1),(2);
insert into u select 7000+a, a, 'from tmp' from tmp;
drop temporary table tmp;
insert into t (k,s) select 300+id, v from u order by id limit 3;
--@ as c1
use dml;
--@ as c2
use dml;
--@ as c1
begin;
--@ as c2
begin;
--@ as c1
insert into t (k,s) values (201,'c1');
--@ as c2
insert into t (k,s) values (202,'c2');
--@ as c1
insert into t (k,s) values (203,'c1');
--@ as c2
commit;
--@ as c1
commit;
