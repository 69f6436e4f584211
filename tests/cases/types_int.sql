-- Every integer type at its limits, signed, unsigned, zerofill.
create database types_int;
create table types_int.i (id int primary key auto_increment, tinyint_s tinyint,tinyint_u tinyint unsigned,tinyint_z tinyint(4) zerofill,tinyint_nn tinyint not null,smallint_s smallint,smallint_u smallint unsigned,smallint_z smallint(4) zerofill,smallint_nn smallint not null,mediumint_s mediumint,mediumint_u mediumint unsigned,mediumint_z mediumint(4) zerofill,mediumint_nn mediumint not null,int_s int,int_u int unsigned,int_z int(4) zerofill,int_nn int not null,bigint_s bigint,bigint_u bigint unsigned,bigint_z bigint(4) zerofill,bigint_nn bigint not null, b bool);
insert into types_int.i values (null,-128,0,0,-128,-32768,0,0,-32768,-8388608,0,0,-8388608,-2147483648,0,0,-2147483648,-9223372036854775808,0,0,-9223372036854775808,1);
insert into types_int.i values (null,127,255,255,127,32767,65535,65535,32767,8388607,16777215,16777215,8388607,2147483647,4294967295,4294967295,2147483647,9223372036854775807,18446744073709551615,18446744073709551615,9223372036854775807,1);
insert into types_int.i values (null,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
insert into types_int.i values (null,-1,128,128,-1,-1,32768,32768,-1,-1,8388608,8388608,-1,-1,2147483648,2147483648,-1,-1,9223372036854775808,9223372036854775808,-1,1);
insert into types_int.i values (null,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1);
insert into types_int.i values (null,127,127,127,127,127,32767,32767,127,127,8388607,8388607,127,127,2147483647,2147483647,127,127,9223372036854775807,9223372036854775807,127,1);
insert into types_int.i values (null,-128,128,128,-128,-128,128,128,-128,-128,128,128,-128,-128,128,128,-128,-128,128,128,-128,1);
insert into types_int.i (tinyint_nn,smallint_nn,mediumint_nn,int_nn,bigint_nn) values (1,1,1,1,1);
update types_int.i set tinyint_s=-tinyint_nn where id in (3,5);
update types_int.i set bigint_u=18446744073709551615, bigint_s=-9223372036854775808, b=null where id=3;
delete from types_int.i where id=7;
create table types_int.pk_big (id bigint unsigned primary key, s serial);
insert into types_int.pk_big values (18446744073709551615,18446744073709551614),(0,1);
