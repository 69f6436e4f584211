-- XA transactions: prepared, committed, rolled back, one phase, by another connection.
create database xa;
create table xa.t (id int primary key, v varchar(10));
--@ as x1
xa start 'one';
insert into xa.t values (1,'2pc');
xa end 'one';
xa prepare 'one';
--@ as main
insert into xa.t values (500,'between');
--@ as x1
xa commit 'one';
xa start 'two';
insert into xa.t values (2,'rb');
xa end 'two';
xa prepare 'two';
xa rollback 'two';
xa start 'three';
insert into xa.t values (3,'1pc');
xa end 'three';
xa commit 'three' one phase;
--@ as x2
xa start 'gt','bq\'q',7;
insert into xa.t values (4,'ids');
xa end 'gt','bq\'q',7;
xa prepare 'gt','bq\'q',7;
--@ as x3
xa start 0xdeadbeef00,0x01ff,2147483647;
insert into xa.t values (5,'bin');
xa end 0xdeadbeef00,0x01ff,2147483647;
xa prepare 0xdeadbeef00,0x01ff,2147483647;
--@ as main
insert into xa.t values (501,'between');
--@ close x3
xa commit 0xdeadbeef00,0x01ff,2147483647;
--@ as x2
xa commit 'gt','bq\'q',7;
--@ as x4
xa start 'never';
insert into xa.t values (6,'unprep');
xa end 'never';
xa rollback 'never';
--@ as x5
xa start 'empty';
xa end 'empty';
xa prepare 'empty';
xa commit 'empty';
