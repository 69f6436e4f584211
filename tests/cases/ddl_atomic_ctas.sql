-- CREATE TABLE ... SELECT in row format: one transaction whose Query event has START TRANSACTION (MySQL 8.0.21+).
create database ct;
use ct;
create table src (id int primary key, v text);
insert into src values (1,'a'),(2,'b');
create table dst as select * from src;
create table dst2 (primary key(id)) select id, upper(v) as vv from src;
insert into dst2 values (9,'z');
