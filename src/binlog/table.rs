//! What a table looked like when a row was written: the schema record that travels with the data.

use serde::{Deserialize, Serialize};

/// A table's schema, from a TABLE_MAP event and, where that has no names, from information_schema.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The database.
    pub schema: String,
    /// The table.
    pub name: String,
    /// In the order of the row image.
    pub columns: Vec<Column>,
    /// Indexes into `columns`, in the key's order; empty if there is none or if it is not known.
    pub primary_key: Vec<u16>,
    /// Where the columns' names come from.
    pub names: Names,
}

/// Where the columns' names and the facts beside them come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Names {
    /// Nowhere: the columns are called `@1`, `@2`, …
    #[default]
    Unknown,
    /// The log itself (`binlog_row_metadata=FULL`).
    Log,
    /// information_schema, checked against the table map.
    Server,
}

/// One column.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// UTF-8; `@1`, `@2`, … where it is not known.
    pub name: String,
    /// The type, with ENUM and SET already told apart from STRING.
    pub kind: Kind,
    /// The type's metadata as the table map has it, little-endian; for STRING the length in bytes,
    /// for ENUM and SET the bytes of a value (1, 2 or 1 to 8).
    pub meta: u16,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// `None` if the log does not say (MariaDB without FULL metadata), or if it makes no sense.
    pub unsigned: Option<bool>,
    /// The collation's id; 63 is binary. `None` if the log does not say.
    pub collation: Option<u16>,
    /// ENUM's and SET's members, in UTF-8; empty if the log does not say.
    pub labels: Vec<String>,
    /// What the column means where the type in the log does not tell.
    pub meaning: Meaning,
    /// False for INVISIBLE columns; true if the log does not say.
    pub visible: bool,
}

/// What information_schema (or the VECTOR metadata) says beyond the type in the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub enum Meaning {
    /// The type says it all.
    #[default]
    Plain,
    /// MariaDB: LONGTEXT with a `json_valid` check.
    Json,
    /// MariaDB UUID: STRING(16).
    Uuid,
    /// MariaDB INET4: STRING(4).
    Inet4,
    /// MariaDB INET6: STRING(16).
    Inet6,
    /// MariaDB VECTOR: VARCHAR of little-endian floats.
    Vector,
    /// MariaDB: the hash of a UNIQUE key that is longer than an index allows, which no statement sees: one BIGINT for
    /// each such key, behind all other columns (`add_hash_field` of `sql/sql_table.cc`).
    Hidden,
}

/// A column's type: `enum_field_types` of `include/field_types.h` (MySQL) and `sql/field.h` (MariaDB).
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum Kind {
    /// DECIMAL of MySQL 4 and before; a row with it cannot be read.
    OldDecimal = 0,
    /// TINYINT, BOOL.
    Tiny = 1,
    /// SMALLINT.
    Short = 2,
    /// INT.
    #[default]
    Long = 3,
    /// FLOAT.
    Float = 4,
    /// DOUBLE.
    Double = 5,
    /// A column that can only be NULL.
    Null = 6,
    /// TIMESTAMP without a fraction, before MySQL 5.6 and MariaDB 10.
    Timestamp = 7,
    /// BIGINT.
    LongLong = 8,
    /// MEDIUMINT.
    Int24 = 9,
    /// DATE.
    Date = 10,
    /// TIME without a fraction, old encoding.
    Time = 11,
    /// DATETIME without a fraction, old encoding.
    DateTime = 12,
    /// YEAR.
    Year = 13,
    /// DATE as it is stored inside tables.
    NewDate = 14,
    /// VARCHAR, VARBINARY.
    Varchar = 15,
    /// BIT.
    Bit = 16,
    /// TIMESTAMP(0..6).
    Timestamp2 = 17,
    /// DATETIME(0..6).
    DateTime2 = 18,
    /// TIME(0..6).
    Time2 = 19,
    /// MariaDB: BLOB … COMPRESSED.
    BlobCompressed = 140,
    /// MariaDB: VARCHAR … COMPRESSED.
    VarcharCompressed = 141,
    /// MySQL: VECTOR.
    Vector = 242,
    /// MySQL: JSON in its binary form.
    Json = 245,
    /// DECIMAL, NUMERIC.
    NewDecimal = 246,
    /// ENUM.
    Enum = 247,
    /// SET.
    Set = 248,
    /// TINYBLOB, TINYTEXT; the log itself always writes [`Kind::Blob`].
    TinyBlob = 249,
    /// MEDIUMBLOB, MEDIUMTEXT; likewise.
    MediumBlob = 250,
    /// LONGBLOB, LONGTEXT; likewise.
    LongBlob = 251,
    /// All BLOB and TEXT; `meta` is the length of the length, 1 to 4.
    Blob = 252,
    /// VARCHAR as it was before MySQL 5.0.
    VarString = 253,
    /// CHAR, BINARY.
    String = 254,
    /// GEOMETRY and its subtypes.
    Geometry = 255,
}
