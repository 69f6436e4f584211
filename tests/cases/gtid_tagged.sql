-- Tagged GTIDs.
--@ only mysql
create database gt;
create table gt.t (id int primary key);
set gtid_next='AUTOMATIC:red';
insert into gt.t values (1);
insert into gt.t values (2);
set gtid_next='AUTOMATIC:blue_tag_of_32_characters_long_';
insert into gt.t values (3);
set gtid_next='11111111-2222-3333-4444-555555555555:5';
insert into gt.t values (143);
set gtid_next='11111111-2222-3333-4444-555555555555:sometag:9';
insert into gt.t values (155);
set gtid_next='11111111-2222-3333-4444-555555555555:9223372036854775805';
insert into gt.t values (161);
set gtid_next='AUTOMATIC';
set gtid_next='11111111-2222-3333-4444-555555555555:7';
begin;
commit;
set gtid_next='AUTOMATIC';
flush binary logs;
insert into gt.t values (50);
