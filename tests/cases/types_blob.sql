-- All BLOB sizes.
create database types_blob;
create table types_blob.b (id int primary key, tb tinyblob, b blob, mb mediumblob, lb longblob);
insert into types_blob.b values (1,repeat(0x00,255),repeat(0xff,65535),repeat(0xab,65536),repeat(0xcd,1000000)),(2,'','','',''),(3,null,null,null,null),(4,0x00,0x0a0d00,unhex(sha2('x',512)),0xdeadbeef);
update types_blob.b set b=0x01, lb=repeat(0x02,300) where id=1;
delete from types_blob.b where id=2;
