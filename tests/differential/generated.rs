//! Cases that are made of numbers, written by a program instead of by hand.

/// Name and text of each, in the format of [`crate::script`].
pub fn all() -> impl Iterator<Item = (&'static str, String)> {
    [("nulls_many_columns", nulls_many_columns()), ("nulls_every_type", nulls_every_type())]
        .into_iter()
}

/// Column counts around the bytes of the NULL bitmap and of a packed integer.
const WIDTHS: [usize; 18] =
    [1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 66, 127, 128, 129, 250, 251, 252, 300];
/// As many as InnoDB allows.
const WIDEST: usize = 1016;

fn nulls_many_columns() -> String {
    let mut sql =
        "-- NULL bitmaps of tables from 1 to 1017 columns.\ncreate database nulls;\n".to_owned();
    for width in WIDTHS {
        let columns = list(width, |i| {
            let kind = if i % 3 == 0 { "varchar(10)" } else { "int" };
            format!("c{i} {kind}")
        });
        let ones = list(width, |_| "1".to_owned());
        let nulls = list(width, |_| "null".to_owned());
        let mixed = list(width, |i| if i % 2 == 0 { "2" } else { "null" }.to_owned());
        let last = width - 1;
        sql += &format!(
            "create table nulls.n{width} ({columns});\n\
             insert into nulls.n{width} values ({ones}),({nulls}),({mixed});\n\
             update nulls.n{width} set c{last}=null, c0=5 where c0=2;\n"
        );
    }
    let columns = list(WIDEST, |i| format!("c{i} tinyint"));
    sql + &format!(
        "create table nulls.widest (id int primary key, {columns});\n\
         insert into nulls.widest (id,c0,c500,c1015) values (1,1,2,3),(2,null,null,null);\n\
         update nulls.widest set c1015=null, c1=9 where id=1;\n\
         delete from nulls.widest where id=2;\n"
    )
}

/// Column type and a value that is not NULL.
const TYPES: [(&str, &str); 23] = [
    ("tinyint", "1"),
    ("smallint", "2"),
    ("mediumint", "3"),
    ("int", "4"),
    ("bigint", "5"),
    ("float", "6.5"),
    ("double", "7.5"),
    ("decimal(10,2)", "8.25"),
    ("date", "'2024-01-02'"),
    ("time(3)", "'01:02:03.004'"),
    ("datetime(6)", "'2024-01-02 03:04:05.678901'"),
    ("timestamp(2) null", "'2024-01-02 03:04:05.67'"),
    ("year", "2024"),
    ("bit(9)", "257"),
    ("enum('a')", "'a'"),
    ("set('a','b')", "'a,b'"),
    ("char(5)", "'q'"),
    ("varchar(300)", "'r'"),
    ("text", "'s'"),
    ("blob", "'t'"),
    ("json", "'{}'"),
    ("point", "st_geomfromtext('POINT(1 2)')"),
    ("binary(4)", "0x01020304"),
];

fn nulls_every_type() -> String {
    let columns = list(TYPES.len(), |i| format!("c{i} {}", TYPES[i].0));
    let mut sql = format!(
        "-- Every type from NULL to a value and back.\n\
         create database nulls;\n\
         create table nulls.every (id int primary key, {columns});\n\
         insert into nulls.every (id) values (1),(2);\n"
    );
    for (i, (_, value)) in TYPES.iter().enumerate() {
        sql += &format!("update nulls.every set c{i}={value};\n");
    }
    for i in 0..TYPES.len() {
        sql += &format!("update nulls.every set c{i}=null where id=1;\n");
    }
    sql
}

fn list(length: usize, item: impl Fn(usize) -> String) -> String {
    (0..length).map(item).collect::<Vec<_>>().join(",")
}
