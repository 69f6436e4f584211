-- Compressed transactions (MySQL) and compressed events (MariaDB).
create database comp;
--@ on mysql
set binlog_transaction_compression=ON;
--@ on mariadb1011 mariadb118
--@ global log_bin_compress=ON
--@ global log_bin_compress_min_len=10
--@ on all
use comp;
create table t (id int primary key auto_increment, s varchar(200), b mediumblob);
insert into t (s) values ('a');
insert into t (s,b) values (repeat('compress me ',15), repeat('x',5000)),(repeat('y',200),repeat('z',60000));
begin;
insert into t (s) values ('t1'),('t2'),('t3');
update t set s=concat(s,'!') where id<3;
delete from t where id=1;
commit;
update t set b=repeat('q',100000);
delete from t where id=2;
alter table t add column extra int default 5;
insert into t (s) values ('after ddl');
insert into t (s,b) select concat('row',id), repeat('r',1000) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
insert into t (s,b) select concat('row',id), repeat('r',100) from t;
--@ on mysql
set binlog_transaction_compression_level_zstd=22;
update t set extra=id;
set binlog_transaction_compression=OFF;
insert into t (s) values ('uncompressed again');
set binlog_transaction_compression=ON;
insert into t (s,b) values ('incompressible', concat(unhex(sha2('1',512)),unhex(sha2('2',512)),unhex(sha2('3',512)),unhex(sha2('4',512)),unhex(sha2('5',512)),unhex(sha2('6',512)),unhex(sha2('7',512)),unhex(sha2('8',512)),unhex(sha2('9',512)),unhex(sha2('10',512)),unhex(sha2('11',512)),unhex(sha2('12',512)),unhex(sha2('13',512)),unhex(sha2('14',512)),unhex(sha2('15',512)),unhex(sha2('16',512))));
set binlog_rows_query_log_events=ON;
update t set s=concat('rq',id) where id<5;
create table m (id int) engine=myisam;
insert into m values (1),(2);
begin;
insert into t (s) values ('xa-like');
savepoint s1;
insert into t (s) values ('gone');
rollback to s1;
commit;
--@ on mariadb1011 mariadb118
insert into t (s,b) values ('incompressible', concat(unhex(sha2('1',512)),unhex(sha2('2',512)),unhex(sha2('3',512)),unhex(sha2('4',512)),unhex(sha2('5',512)),unhex(sha2('6',512)),unhex(sha2('7',512)),unhex(sha2('8',512)),unhex(sha2('9',512)),unhex(sha2('10',512)),unhex(sha2('11',512)),unhex(sha2('12',512)),unhex(sha2('13',512)),unhex(sha2('14',512)),unhex(sha2('15',512)),unhex(sha2('16',512))));
--@ on all
create table big (id int primary key, b longblob);
insert into big select id, repeat(sha2(id,256),300) from t limit 600;
