-- All geometry types.
create database types_geometry;
--@ on mysql
create table types_geometry.g (id int primary key, g_geometry geometry,g_point point,g_linestring linestring,g_polygon polygon,g_multipoint multipoint,g_multilinestring multilinestring,g_multipolygon multipolygon,g_geometrycollection geometrycollection, p4326 point srid 4326, pnn point not null);
--@ on mariadb1011 mariadb118
create table types_geometry.g (id int primary key, g_geometry geometry,g_point point,g_linestring linestring,g_polygon polygon,g_multipoint multipoint,g_multilinestring multilinestring,g_multipolygon multipolygon,g_geometrycollection geometrycollection, p4326 point, pnn point not null);
--@ on all
insert into types_geometry.g values (1,st_geomfromtext('POINT(-1.5 1e300)'),st_geomfromtext('POINT(1 2)'),st_geomfromtext('LINESTRING(0 0,1 1,2.5 -3)'),st_geomfromtext('POLYGON((0 0,10 0,10 10,0 10,0 0),(2 2,4 2,4 4,2 4,2 2))'),st_geomfromtext('MULTIPOINT(0 0,1 1)'),st_geomfromtext('MULTILINESTRING((0 0,1 1),(2 2,3 3,4 4))'),st_geomfromtext('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))'),st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))'),st_geomfromtext('POINT(48.85 2.35)',4326),st_geomfromtext('POINT(0 0)'));
insert into types_geometry.g(id,g_geometry,pnn) values (2,st_geomfromtext('GEOMETRYCOLLECTION EMPTY'),st_geomfromtext('POINT(1 1)')),(3,null,st_geomfromtext('POINT(2 2)'));
insert into types_geometry.g(id,g_geometry,pnn) values (4,st_geomfromtext('LINESTRING(10 20,30 40)',4326),st_geomfromtext('POINT(1 1)'));
insert into types_geometry.g(id,g_linestring,pnn) with recursive n(i) as (select 0 union all select i+1 from n where i<1999) select 5, st_geomfromtext(concat('LINESTRING(',group_concat(concat(i,' ',i*i) order by i),')')), st_geomfromtext('POINT(1 1)') from n;
update types_geometry.g set g_point=st_geomfromtext('POINT(7 8)') where id=1;
delete from types_geometry.g where id=2;
