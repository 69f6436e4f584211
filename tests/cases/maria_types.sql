-- Types that only MariaDB has.
--@ only mariadb1011 mariadb118
create database mt;
create table mt.t (id int primary key, i6 inet6, i4 inet4, u uuid, cv varchar(200) compressed, ct text compressed, cb blob compressed, clb longblob compressed, ctt tinytext compressed, cvb varbinary(3000) compressed, nn uuid not null);
insert into mt.t values (1,'2001:db8::1','192.0.2.1', '6ccd780c-baba-1026-9564-5b8c656024db', repeat('c',200), repeat('t',60000), 'short', repeat('b',100000), 'tiny', repeat('v',3000), '11223344-5566-1177-8899-aabbccddeeff');
insert into mt.t (id,nn) values (2,'00000000-0000-0000-0000-000000000000'),(3,'ffffffff-ffff-ffff-ffff-ffffffffffff');
insert into mt.t (id,i6,cv,ct,nn) values (4,'::','','','21223344-5566-1177-8899-aabbccddeef0'),(5,'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff','a',repeat('é',200),'31223344-5566-4177-8899-aabbccddeef1'),(6,'::ffff:1.2.3.4',repeat('x',99),repeat('y',100),'12345678-9abc-7def-8123-456789abcdef');
update mt.t set i6='::2', cv=concat(cv,'!') where id in (4,6);
delete from mt.t where id=2;
create sequence mt.s start with 5 increment by 3 cache 10;
insert into mt.t (id,nn) values (nextval(mt.s)+100,'41223344-5566-1177-8899-aabbccddeef2');
do nextval(mt.s);
do setval(mt.s, 500);
create table mt.aria (id int primary key, v varchar(10)) engine=aria;
insert into mt.aria values (1,'a'),(2,'b');
update mt.aria set v='z';
create table mt.aria_t (id int primary key) engine=aria transactional=1;
insert into mt.aria_t values (1);
create table mt.j (id int primary key, j json, dyn blob);
insert into mt.j values (1,'{"a":[1,2,{"b":null}]}',column_create('k','v','n',5));
insert into mt.t (id,nn) values (300,'51223344-5566-1177-8899-aabbccddeef3') returning id;
delete from mt.t where id=300 returning *;
--@ on mariadb118
create table mt.v (id int primary key, v vector(3) not null, vector index (v));
insert into mt.v values (1,vec_fromtext('[1,2,3]')),(2,vec_fromtext('[4,5,6]'));
update mt.v set v=vec_fromtext('[0,0,0]') where id=1;
delete from mt.v where id=2;
