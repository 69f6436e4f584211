-- Names, keys, character sets, signedness in the table map.
--@ global binlog_row_metadata=FULL
create database md;
create table md.a (id bigint unsigned not null auto_increment, t tinyint, tu tinyint unsigned, d decimal(10,3) unsigned, e enum('x','y','日本') character set utf8mb4, s set('p','q') character set latin1, s2 set('é','r') character set gbk collate gbk_bin, c char(5) character set utf8mb4, v varchar(10) character set latin1, tx text character set utf16, b blob, vb varbinary(5), j json, g point, g2 geometry not null, bt bit(3), y year, ts timestamp(3) null, dt datetime, f float unsigned, inv int invisible, primary key(id));
insert into md.a (id,t,tu,d,e,s,s2,c,v,tx,b,vb,j,g,g2,bt,y,ts,dt,f,inv) values (1,-1,255,1.5,'日本','p,q','é','c','v','tx','b','vb','{}',st_geomfromtext('POINT(1 1)'),st_geomfromtext('POINT(1 1)'),5,2024,'2024-01-01 00:00:00.123','2024-01-01',1.5,9);
create table md.prefix_pk (a varchar(100), b text, c int, primary key (c, a(10), b(20)));
insert into md.prefix_pk values ('aaa','bbb',1);
create table md.multi_pk (a int, b int, c int, primary key (c,a));
insert into md.multi_pk values (1,2,3);
create table md.nopk (a int unsigned, `we``ird "name` int, `日本` varchar(5));
insert into md.nopk values (1,2,'x');
create table md.allsame (id int primary key, a varchar(10), b varchar(10), c varchar(10)) charset=utf8mb4;
insert into md.allsame values (1,'a','b','c');
create table md.mixedcs (id int primary key, a varchar(10) character set utf8mb4, b varchar(10) character set latin1, c varchar(10) character set utf8mb4, d varchar(10) character set utf8mb4 collate utf8mb4_bin, e varchar(5) character set binary);
insert into md.mixedcs values (1,'a','b','c','d','e');
update md.mixedcs set a='z';
delete from md.mixedcs;
create table md.nochars (id int, u int unsigned);
insert into md.nochars values (1,2);
--@ on mysql
create table md.srid (id int primary key, p point srid 4326 not null, v vector(4));
insert into md.srid values (1,st_geomfromtext('POINT(1 2)',4326),string_to_vector('[1,2,3,4]'));
--@ on mariadb1011 mariadb118
create table md.m (id int primary key, ip inet6, u uuid, cc varchar(100) compressed, cb blob compressed);
insert into md.m values (1,'::1','6ccd780c-baba-1026-9564-5b8c656024db','hello','world');
--@ global binlog_row_metadata=MINIMAL
insert into md.multi_pk values (7,8,9);
insert into md.a (id,tu,g2) values (2,200,st_geomfromtext('POINT(1 1)'));
--@ global binlog_row_metadata=NO_LOG
insert into md.multi_pk values (8,8,9);
