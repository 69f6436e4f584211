//! A column as it is defined, and as SELECT is asked for it.

use crate::harness::tables::backquoted;

/// What a column is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Int {
        bits: u32,
        unsigned: bool,
    },
    Decimal {
        precision: usize,
        scale: usize,
        unsigned: bool,
    },
    Float {
        unsigned: bool,
    },
    Double {
        unsigned: bool,
    },
    Bit(u32),
    Year,
    Date,
    Time(usize),
    DateTime(usize),
    Timestamp(usize),
    /// At most so many characters.
    Text {
        charset: String,
        length: usize,
    },
    /// At most so many bytes; `fixed` for BINARY.
    Bytes {
        length: usize,
        fixed: bool,
    },
    Enum {
        members: Vec<String>,
        charset: String,
    },
    Set {
        members: Vec<String>,
        charset: String,
    },
    /// MySQL's own.
    Json,
    /// MariaDB's, which is text.
    JsonText,
    Geometry(&'static str),
    /// MySQL's own.
    Vector(usize),
    /// MariaDB's, which is VARBINARY.
    VectorBytes(usize),
    Uuid,
    Inet4,
    Inet6,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// All that stands behind the name in CREATE TABLE.
    pub definition: String,
    pub nullable: bool,
    /// The server makes its values.
    pub generated: bool,
}

impl Column {
    /// What SELECT is asked for: one or more texts of a value, each without a tab.
    pub fn expressions(&self) -> Vec<String> {
        let name = backquoted(&self.name);
        match &self.kind {
            Kind::Int { .. } | Kind::Bit(_) | Kind::Year => vec![format!("{name}+0")],
            Kind::Decimal { .. } => vec![name],
            // A product keeps the sign of a zero, and has all digits.
            Kind::Float { .. } | Kind::Double { .. } => vec![format!("{name}*1e0")],
            Kind::Date | Kind::Time(_) | Kind::DateTime(_) | Kind::Timestamp(_) | Kind::Uuid => {
                vec![format!("cast({name} as char)")]
            }
            Kind::Inet4 => {
                vec![format!("cast({name} as char)"), format!("hex(cast({name} as binary(4)))")]
            }
            Kind::Inet6 => {
                vec![format!("cast({name} as char)"), format!("hex(cast({name} as binary(16)))")]
            }
            Kind::Text { charset, .. } if charset == "utf8mb4" => {
                vec![format!("hex({name})")]
            }
            Kind::Text { charset, .. } => vec![
                format!("hex(convert({name} using utf8mb4))"),
                format!("hex({name})"),
                format!("hex(convert(convert({name} using utf8mb4) using {charset}))"),
            ],
            Kind::Enum { .. } | Kind::Set { .. } => {
                // A sum would be signed.
                vec![format!("{name}|0"), format!("hex(convert({name} using utf8mb4))")]
            }
            Kind::Json => vec![format!("hex(convert(cast({name} as char) using utf8mb4))")],
            Kind::JsonText => vec![format!("hex(convert({name} using utf8mb4))")],
            Kind::Bytes { .. } | Kind::Geometry(_) | Kind::Vector(_) | Kind::VectorBytes(_) => {
                vec![format!("hex({name})")]
            }
        }
    }

    /// Whether an index may hold it whole.
    pub fn can_be_key(&self) -> bool {
        let small = |length: usize| (1..=60).contains(&length);
        match &self.kind {
            Kind::Text { length, .. } => {
                small(*length) && self.definition.contains("char(") && !self.is_compressed()
            }
            Kind::Bytes { length, .. } => {
                small(*length) && self.definition.contains("binary(") && !self.is_compressed()
            }
            Kind::Json | Kind::JsonText | Kind::Geometry(_) => false,
            Kind::Vector(_) | Kind::VectorBytes(_) => false,
            _ => !self.generated,
        }
    }

    /// Whether it has an expression.
    pub fn is_computed(&self) -> bool {
        self.definition.contains("generated always")
    }

    fn is_compressed(&self) -> bool {
        self.definition.contains("compressed")
    }
}

/// A value as SELECT shows it: `None` is NULL, else one text per expression.
pub type Truth = Option<Vec<String>>;

/// Cuts a row of SELECT into its columns.
pub fn truths(columns: &[Column], row: &[String]) -> Vec<Truth> {
    let mut rest = row;
    let cut = |column: &Column| {
        let (these, others) = rest.split_at(column.expressions().len());
        rest = others;
        (these[0] != "NULL").then(|| these.to_vec())
    };
    columns.iter().map(cut).collect()
}
