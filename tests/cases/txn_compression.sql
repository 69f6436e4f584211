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
insert into t (s,b) values ('incompressible', random_bytes(1000));
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
--@ on mariadb1011
insert into t (s,b) values ('incompressible', 0x9f41bd5bcbb0f1d7bda6ec8707d777c6f13fa60de6281c5f78de3f618b1a923f03bb3768472eeadec46328c3cc12239e9e71202100f8df0135c637f5fb2adf2a4a50f6328ae0ada0342ef0f7b032f7f7e4624c055c6a2aef254310544dd19a960098adb556104f5ad14e7bb2502f7b78b42d0e41f9f005f3bf5bd867048cc96b5d6094d702730bb52e9ff4f4321ec13eedd1f17658835ae48640c6761b96bfc7cc5edc4b096ef2fa173557839c5ceb255746ecb38b174faf514e2dcc14a026b8b04fff7b29b80c14fc9988ec67083cbd9858d34074a66b250efaeaa308cd7e55d63521fbbb90f321a1e5c9691b2b6f5f260fd86b4b2474ecff9eda2bf98574f57cb0ba517a464a7867e6251c60d2fd88f52da0ef7fde562e167d4583c88cde805c10c9cbc65bb196a908c24e5d8fb4ab47d57c43c5fbb0b74bf4f257a62d94da02798cc64053ab467649d180a5accc5b5946a458bcf0d46859ecd72cdeddb073f95df455842487fa2a32d65cefda7a48b114b8abba6a2b9dc7ef9484aaef6b4d9f8dc6dda345b8fe07322896709fa62e38c2af2ea1b70afc78fa392a0de4221c51f72e7b318c096a775961a99c1297343cb7e75f005967f347db68dd1db0d48c5ff6098c9d4d184b8b8356f3944bf55ad1216b68d090a4895e7724289861907af532f7229b1759d2e4a900611b5390ea9d8a2453);
--@ on mariadb118
insert into t (s,b) values ('incompressible', 0xa1e0e490606d6efa397e4a7af8b56162f6dae928989842bdfb4d7f406a0551f1fb4e7ded49247a061fa89ff5713e4b0ac822d364037a888f463eef79c8093e7d44d827b8fd494b7e9bfe7984a5dd9ae1bee51e04c2204c4888b5569d4bbb870676595caebed097210900408d74afea1be3af8b30036dc7ce6d9893b0b5f4a1a67bdbe9d7627964aedab832e64b77d4c2104dd600b1c76e9549a5c778e94f242a7ab18ce37ff95489276c958acf0c11bb3a44d115ca10a9f10655b86dfa11ff67b37c0c1fd71f389da5d3f31cb6e522fe4ab4eb70262e9c2f69cd29119f360b8e1ba961be12470e92931ebe66e09f22026e1750af997d7d5af0a75fea0e23b24b2691a1ad814ae9f18e8c9e3843108d3c41d5c04884f922ce3cdd5f74bc632d21b604a7571592aa0917dd1f8198743d63e0767af6521bcb87078ab9620dd926f1f36daecb39bf1d15f9e9aa7dd23623b39f605ad53c4a55ee9db459cb626022b9d45ba54bcda16ef6da5c840997fe9237bd2e65101809082f33320a7de3ef7ba9c259006d784ce3ef9eeb6d527776193127a728125fde62dee178268d411c47d129c049ac3c087be50858ecc05e50f00fb005ac7478d9f2271ec9ab534a74ac3dbafe290833b606933ba8149e66e9f9b45dae4f2f775c4811bbfeb77729c63d2cac35f00ba59b6eb9f94501760f73c7ae692b0b08);
--@ on all
create table big (id int primary key, b longblob);
insert into big select id, repeat(sha2(id,256),300) from t limit 600;
