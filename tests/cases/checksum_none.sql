-- Checksums switched off and on.
--@ global binlog_checksum=NONE
--@ reset
create database cn;
create table cn.t (id int primary key, v varchar(20));
insert into cn.t values (1,'no crc'),(2,'x');
update cn.t set v='y';
delete from cn.t where id=1;
--@ global binlog_checksum=CRC32
insert into cn.t values (3,'crc again');
--@ global binlog_checksum=NONE
insert into cn.t values (4,'none again');
