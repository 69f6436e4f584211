-- VECTOR.
--@ only mysql mariadb118
create database types_vector;
--@ on mysql
create table types_vector.v (id int primary key, v3 vector(3), v1 vector(1), v768 vector(768), vd vector);
insert into types_vector.v with recursive n(i) as (select 0 union all select i+1 from n where i<767) select 1,string_to_vector('[1,2,3]'),string_to_vector('[-0.5]'),string_to_vector(concat('[',group_concat(i/7 order by i),']')),string_to_vector('[0,1,2,3,4,5,6,7,8,9]') from n;
insert into types_vector.v values (2,string_to_vector('[1e-37,-100.25,0]'),string_to_vector('[0]'),null,null),(3,null,null,null,null);
insert into types_vector.v(id,v768) values (4,string_to_vector('[1,2]'));
update types_vector.v set v3=string_to_vector('[4,5,6]') where id=1;
--@ on mariadb118
create table types_vector.v (id int primary key, v3 vector(3), v1 vector(1), v768 vector(768), vd vector(10));
insert into types_vector.v with recursive n(i) as (select 0 union all select i+1 from n where i<767) select 1,vec_fromtext('[1,2,3]'),vec_fromtext('[-0.5]'),vec_fromtext(concat('[',group_concat(i/7 order by i),']')),vec_fromtext('[0,1,2,3,4,5,6,7,8,9]') from n;
insert into types_vector.v values (2,vec_fromtext('[1e-37,-100.25,0]'),vec_fromtext('[0]'),null,null),(3,null,null,null,null);
update types_vector.v set v3=vec_fromtext('[4,5,6]') where id=1;
--@ on all
delete from types_vector.v where id=2;
