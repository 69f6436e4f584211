//! TABLE_MAP: what a table looks like, as far as the log says.
//!
//! ```text
//!  table id | flags u16 | schema | table | column count | a type per column | metadata of the types
//!  | a bit per column: nullable | optional fields: type u8, length, value
//! ```
//!
//! | optional field | in `binlog_row_metadata` MINIMAL | FULL |
//! |---|---|---|
//! | signedness, default or column character sets, geometry types | MySQL | both servers |
//! | names, ENUM and SET members and their character sets, primary key, visibility | | both servers |
//!
//! Source: `Table_map_event` in `libs/mysql/binlog/event/rows_event.h`, `Table_map_log_event` in
//! `sql/log_event.cc` (MySQL) and `sql/log_event_server.cc` (MariaDB).

use std::borrow::Cow;

use super::format::Flavor;
use super::old_temporal;
use super::reader::{DecodeError, Reader, Reason};
use super::table::{Column, Kind, Meaning, Names, Table};

/// What MySQL itself allows in a table; MariaDB allows 4096, too.
pub const COLUMNS_MAX: usize = 4096;

/// A table map, split into its parts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableMap<'a> {
    /// What the rows events that follow call it; a number that lives as long as the server's cache.
    pub table_id: u64,
    /// `TM_…_F`.
    pub flags: u16,
    /// The database, UTF-8.
    pub schema: &'a [u8],
    /// The table, UTF-8.
    pub table: &'a [u8],
    /// A type byte per column.
    pub kinds: &'a [u8],
    /// All behind the table id: equal bytes are equal tables.
    pub body: &'a [u8],
    flavor: Flavor,
    metadata: &'a [u8],
    metadata_at: usize,
    nullable: &'a [u8],
    optional: &'a [u8],
    optional_at: usize,
}

impl<'a> TableMap<'a> {
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        flavor: Flavor,
        short_id: bool,
    ) -> Result<Self, DecodeError> {
        let table_id = decode_table_id(reader, short_id)?;
        let body = reader.peek();
        let flags = reader.u16("table map: flags")?;
        let schema = decode_name(reader, "table map: schema")?;
        let table = decode_name(reader, "table map: table")?;
        let count = decode_column_count(reader)?;
        let kinds = reader.bytes(count, "table map: types")?;
        let metadata_len = reader.lenenc("table map: metadata length")?;
        let metadata_at = reader.at();
        let metadata_len = usize::try_from(metadata_len).unwrap_or(usize::MAX);
        let metadata = reader.bytes(metadata_len, "table map: metadata")?;
        let nullable = reader.bytes(count.div_ceil(8), "table map: nullable")?;
        let optional_at = reader.at();
        let optional = reader.rest();
        Ok(Self {
            table_id,
            flags,
            schema,
            table,
            kinds,
            body,
            flavor,
            metadata,
            metadata_at,
            nullable,
            optional,
            optional_at,
        })
    }

    /// Builds the schema record.
    ///
    /// Names are `@1`, `@2`, … if the log has none. Members of ENUM and SET, which the log has in the
    /// column's character set, are as [`label_text`] says. Fails on types that are not known
    /// and on optional fields that do not fit the columns.
    pub fn to_table(&self) -> Result<Table, DecodeError> {
        let mut table = Table {
            schema: utf8(self.schema, "table map: schema")?,
            name: utf8(self.table, "table map: table")?,
            columns: self.columns()?,
            primary_key: Vec::new(),
            names: Names::Unknown,
        };
        let mut reader = Reader::starting_at(self.optional, self.optional_at);
        let mut seen = [false; 1 + u8::MAX as usize];
        while !reader.is_empty() {
            let kind = reader.u8("table map: optional field")?;
            // No server writes one twice; each time takes as long as there are columns.
            let seen = seen.get_mut(usize::from(kind));
            if seen.is_some_and(|seen| std::mem::replace(seen, true)) {
                return Err(reader.invalid(kind.into(), "table map: optional field that was there"));
            }
            let len = reader.lenenc("table map: length of an optional field")?;
            let at = reader.at();
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let value = reader.bytes(len, "table map: optional field")?;
            apply_optional(&mut table, self.flavor, kind, Reader::starting_at(value, at))?;
        }
        for column in &mut table.columns {
            column.collation = column.collation.map(|id| collation_id(self.flavor, id));
            for label in &mut column.labels {
                *label = label_text(label_bytes(label).as_ref(), column.collation);
            }
        }
        if table.names == Names::Unknown {
            for (index, column) in table.columns.iter_mut().enumerate() {
                column.name = format!("@{}", index + 1);
            }
        } else if self.flavor == Flavor::Mariadb {
            let hashes = table.columns.iter_mut().rev().take_while(|column| is_hash(column));
            hashes.for_each(|column| column.meaning = Meaning::Hidden);
        }
        Ok(table)
    }

    fn columns(&self) -> Result<Vec<Column>, DecodeError> {
        let mut metadata = Reader::starting_at(self.metadata, self.metadata_at);
        let mut columns = Vec::with_capacity(self.kinds.len());
        for (index, code) in self.kinds.iter().enumerate() {
            let (kind, meta) =
                decode_kind(*code, self.flavor, &mut metadata).map_err(|e| e.of_column(index))?;
            let nullable = bit(self.nullable, index);
            columns.push(Column {
                name: String::new(),
                kind,
                meta,
                nullable,
                unsigned: None,
                collation: None,
                labels: Vec::new(),
                meaning: Meaning::Plain,
                visible: true,
            });
        }
        metadata.finish("table map: metadata")?;
        Ok(columns)
    }
}

/// Whether it has the name and the type that MariaDB gives to [`Meaning::Hidden`].
fn is_hash(column: &Column) -> bool {
    let number = column.name.strip_prefix("DB_ROW_HASH_");
    column.kind == Kind::LongLong
        && number.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The id that rows events share with their table map.
pub(super) fn decode_table_id(reader: &mut Reader<'_>, short_id: bool) -> Result<u64, DecodeError> {
    const FIELD: &str = "table id";
    if short_id { reader.u32(FIELD).map(u64::from) } else { reader.u48(FIELD) }
}

pub(super) fn decode_column_count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = reader.lenenc("column count")?;
    if count > COLUMNS_MAX as u64 {
        return Err(reader.invalid(count, "column count"));
    }
    Ok(count as usize)
}

/// Bit `index` of a bitmap that begins at the low end; false beyond its end.
#[inline]
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| (byte >> (index % 8)) & 1 == 1)
}

/// The same for the bitmaps that begin at the high end.
fn bit_from_top(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| (byte << (index % 8)) & 0x80 != 0)
}

fn decode_name<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let len = reader.u8(field)?;
    let name = reader.bytes(len.into(), field)?;
    match reader.u8(field)? {
        0 => Ok(name),
        other => Err(reader.invalid(other.into(), field)),
    }
}

fn utf8(bytes: &[u8], field: &'static str) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Reader::new(&[]).error(field, Reason::NotUtf8))
}

/// A type byte and its metadata → the real type and the metadata as [`Column::meta`] has it.
fn decode_kind(
    code: u8,
    flavor: Flavor,
    metadata: &mut Reader<'_>,
) -> Result<(Kind, u16), DecodeError> {
    const FIELD: &str = "table map: metadata";
    let Some(kind) = kind_of(code) else {
        return Err(metadata.invalid(code.into(), "table map: type"));
    };
    let meta = match kind {
        Kind::Float | Kind::Double | Kind::Blob | Kind::TinyBlob | Kind::MediumBlob => {
            metadata.u8(FIELD)?.into()
        }
        Kind::LongBlob | Kind::Json | Kind::Geometry | Kind::Vector | Kind::BlobCompressed => {
            metadata.u8(FIELD)?.into()
        }
        Kind::Timestamp2 | Kind::DateTime2 | Kind::Time2 => metadata.u8(FIELD)?.into(),
        Kind::Varchar | Kind::VarString | Kind::VarcharCompressed | Kind::Bit => {
            metadata.u16(FIELD)?
        }
        Kind::NewDecimal => metadata.u16(FIELD)?,
        Kind::String | Kind::Enum | Kind::Set => {
            let (real, length) = (metadata.u8(FIELD)?, metadata.u8(FIELD)?);
            return unpack_string(real, length).ok_or_else(|| metadata.invalid(real.into(), FIELD));
        }
        _ => old_temporal::meta_of(kind, flavor),
    };
    Ok((kind, meta))
}

/// STRING's two bytes: the real type, and a length of up to 1023 whose upper two bits are hidden,
/// inverted, in the type (`Field_string::do_save_field_metadata`).
fn unpack_string(real: u8, length: u8) -> Option<(Kind, u16)> {
    let upper = u16::from((real & 0x30) ^ 0x30) << 4;
    match kind_of(real | 0x30)? {
        Kind::String => Some((Kind::String, upper | u16::from(length))),
        kind @ (Kind::Enum | Kind::Set) if upper == 0 => Some((kind, length.into())),
        _ => None,
    }
}

pub(super) fn kind_of(code: u8) -> Option<Kind> {
    Some(match code {
        0 => Kind::OldDecimal,
        1 => Kind::Tiny,
        2 => Kind::Short,
        3 => Kind::Long,
        4 => Kind::Float,
        5 => Kind::Double,
        6 => Kind::Null,
        7 => Kind::Timestamp,
        8 => Kind::LongLong,
        9 => Kind::Int24,
        10 => Kind::Date,
        11 => Kind::Time,
        12 => Kind::DateTime,
        13 => Kind::Year,
        14 => Kind::NewDate,
        15 => Kind::Varchar,
        16 => Kind::Bit,
        17 => Kind::Timestamp2,
        18 => Kind::DateTime2,
        19 => Kind::Time2,
        140 => Kind::BlobCompressed,
        141 => Kind::VarcharCompressed,
        242 => Kind::Vector,
        245 => Kind::Json,
        246 => Kind::NewDecimal,
        247 => Kind::Enum,
        248 => Kind::Set,
        249 => Kind::TinyBlob,
        250 => Kind::MediumBlob,
        251 => Kind::LongBlob,
        252 => Kind::Blob,
        253 => Kind::VarString,
        254 => Kind::String,
        255 => Kind::Geometry,
        _ => return None,
    })
}

/// The types that have a bit in the signedness field. YEAR is one of them: the writers ask for
/// `Field_num`, which it is, though some readers forget it.
fn is_numeric(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Tiny
            | Kind::Short
            | Kind::Int24
            | Kind::Long
            | Kind::LongLong
            | Kind::Year
            | Kind::Float
            | Kind::Double
            | Kind::OldDecimal
            | Kind::NewDecimal
    )
}

/// The types that have a character set in the character set fields.
fn is_character(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::String
            | Kind::VarString
            | Kind::Varchar
            | Kind::VarcharCompressed
            | Kind::TinyBlob
            | Kind::Blob
            | Kind::MediumBlob
            | Kind::LongBlob
            | Kind::BlobCompressed
            // A BLOB to the server that writes the field.
            | Kind::Vector
    )
}

/// MariaDB counts GEOMETRY among them, because there it is a BLOB.
fn is_character_or_geometry(kind: Kind) -> bool {
    is_character(kind) || kind == Kind::Geometry
}

fn is_label(kind: Kind) -> bool {
    matches!(kind, Kind::Enum | Kind::Set)
}

fn apply_optional(
    table: &mut Table,
    flavor: Flavor,
    kind: u8,
    mut reader: Reader<'_>,
) -> Result<(), DecodeError> {
    let columns = &mut table.columns;
    let is_character: fn(Kind) -> bool = match flavor {
        Flavor::Mysql => is_character,
        Flavor::Mariadb => is_character_or_geometry,
    };
    match kind {
        1 => apply_signedness(columns, &mut reader)?,
        2 => apply_default_charset(columns, is_character, &mut reader)?,
        3 => apply_charsets(columns, is_character, &mut reader)?,
        4 => {
            for (index, column) in columns.iter_mut().enumerate() {
                let name = reader.lenenc_bytes("table map: column name")?;
                let name = utf8(name, "table map: column name").map_err(|e| e.of_column(index))?;
                column.name = name;
            }
            table.names = Names::Log;
        }
        5 => apply_labels(columns, Kind::Set, &mut reader)?,
        6 => apply_labels(columns, Kind::Enum, &mut reader)?,
        8 | 9 => {
            while !reader.is_empty() {
                let index = reader.lenenc("table map: primary key")?;
                if index >= columns.len() as u64 {
                    return Err(reader.invalid(index, "table map: primary key"));
                }
                if kind == 9 {
                    reader.lenenc("table map: primary key's prefix")?;
                }
                table.primary_key.push(index as u16);
            }
        }
        10 => apply_default_charset(columns, is_label, &mut reader)?,
        11 => apply_charsets(columns, is_label, &mut reader)?,
        12 => {
            let bits = reader.bytes(columns.len().div_ceil(8), "table map: visibility")?;
            for (index, column) in columns.iter_mut().enumerate() {
                column.visible = bit_from_top(bits, index);
            }
        }
        // Geometry types (7) and vector dimensions (13) are in the values, too; what later
        // releases add has its length and can be left out.
        _ => return Ok(()),
    }
    reader.finish("table map: optional field")
}

fn apply_signedness(columns: &mut [Column], reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let numeric = columns.iter_mut().filter(|column| is_numeric(column.kind));
    let bits = reader.rest();
    let mut count = 0;
    for (index, column) in numeric.enumerate() {
        count = index + 1;
        if column.kind != Kind::Year {
            column.unsigned = Some(bit_from_top(bits, index));
        }
    }
    if bits.len() != count.div_ceil(8) {
        return Err(reader.invalid(bits.len() as u64, "table map: bytes of signedness"));
    }
    Ok(())
}

/// A default, and pairs of (index among these columns, collation) for those that differ.
fn apply_default_charset(
    columns: &mut [Column],
    which: fn(Kind) -> bool,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    let default = decode_collation(reader)?;
    let mut those: Vec<&mut Column> = columns.iter_mut().filter(|c| which(c.kind)).collect();
    for column in &mut those {
        column.collation = Some(default);
    }
    while !reader.is_empty() {
        let index = reader.lenenc("table map: column with a character set")?;
        let collation = decode_collation(reader)?;
        match usize::try_from(index).ok().and_then(|index| those.get_mut(index)) {
            Some(column) => column.collation = Some(collation),
            None => return Err(reader.invalid(index, "table map: column with a character set")),
        }
    }
    Ok(())
}

fn apply_charsets(
    columns: &mut [Column],
    which: fn(Kind) -> bool,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    for column in columns.iter_mut().filter(|column| which(column.kind)) {
        column.collation = Some(decode_collation(reader)?);
    }
    Ok(())
}

/// A collation's id, made to be the same for no two collations of any servers.
///
/// MySQL leaves 1024 to 2047 to its administrators' own collations, which may be of any character set
/// (manual, "Choosing a Collation ID"); MariaDB has its NOPAD collations there. MySQL's are moved to where
/// neither server has any.
pub fn collation_id(flavor: Flavor, id: u16) -> u16 {
    match (flavor, id) {
        (Flavor::Mysql, 1024..2048) => id | 0x8000,
        _ => id,
    }
}

fn decode_collation(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    const FIELD: &str = "table map: collation";
    let id = reader.lenenc(FIELD)?;
    u16::try_from(id).map_err(|_| reader.invalid(id, FIELD))
}

fn apply_labels(
    columns: &mut [Column],
    kind: Kind,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    for column in columns.iter_mut().filter(|column| column.kind == kind) {
        let count = reader.lenenc("table map: members")?;
        if count > reader.left() as u64 {
            return Err(reader.invalid(count, "table map: members"));
        }
        column.labels.clear();
        for _ in 0..count {
            // The character sets may still follow.
            column.labels.push(label_text(reader.lenenc_bytes("table map: member")?, None));
        }
    }
    Ok(())
}

/// An ENUM's or SET's member in the column's character set → text that loses nothing: itself where it is
/// the same in UTF-8, else a NUL and its bytes in hexadecimal. See [`label_bytes`].
pub fn label_text(bytes: &[u8], collation: Option<u16>) -> String {
    let same = match collation.map(likeness) {
        None | Some(Likeness::Utf8) => true,
        Some(Likeness::Ascii) => bytes.is_ascii(),
        Some(Likeness::None) => false,
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if same && !text.starts_with('\0') => text.to_owned(),
        _ => {
            let mut text = String::with_capacity(1 + 2 * bytes.len());
            text.push('\0');
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(digit.into(), 16).expect("four bits are a digit"));
                }
            }
            text
        }
    }
}

/// How much of a character set means the same in UTF-8.
enum Likeness {
    Utf8,
    Ascii,
    None,
}

/// By information_schema.collations of MySQL 9.7 and MariaDB 11.8. What is not known is like nothing.
fn likeness(collation: u16) -> Likeness {
    // MariaDB's NOPAD collations are their originals plus 1024.
    match if (1025..2048).contains(&collation) { collation - 1024 } else { collation } {
        33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 | 576..=579 | 608..=611 => {
            Likeness::Utf8
        }
        2048..=2559 => Likeness::Utf8,
        // utf16, utf16le, utf32, ucs2, and swe7 with letters in the place of brackets.
        35 | 54..=56 | 60..=62 | 90 | 101..=183 | 640..=738 | 2560..=3583 | 10 | 82 => {
            Likeness::None
        }
        1..=254 => Likeness::Ascii,
        _ => Likeness::None,
    }
}

/// The bytes that [`label_text`] was given, in the column's character set.
pub fn label_bytes(text: &str) -> Cow<'_, [u8]> {
    let Some(digits) = text.strip_prefix('\0') else { return Cow::Borrowed(text.as_bytes()) };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
    Cow::Owned(
        digits
            .as_bytes()
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, next| (byte << 4) | digit(next)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table map's body: id 7, `d`.`t`.
    fn map(kinds: &[u8], metadata: &[u8], optional: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0];
        bytes.push(kinds.len() as u8);
        bytes.extend(kinds);
        bytes.push(metadata.len() as u8);
        bytes.extend(metadata);
        bytes.extend(vec![0b10; kinds.len().div_ceil(8)]);
        bytes.extend(optional);
        bytes
    }

    fn table_of(bytes: &[u8], flavor: Flavor) -> Result<Table, DecodeError> {
        TableMap::decode(&mut Reader::new(bytes), flavor, false)?.to_table()
    }

    fn table(bytes: &[u8]) -> Result<Table, DecodeError> {
        table_of(bytes, Flavor::Mysql)
    }

    #[test]
    fn a_map_without_metadata_has_numbers_for_names() {
        let table = table(&map(&[3, 15], &[44, 1], &[])).unwrap();
        assert_eq!((table.schema.as_str(), table.name.as_str()), ("d", "t"));
        assert_eq!(table.names, Names::Unknown);
        let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["@1", "@2"]);
        let [id, text] = table.columns.as_slice() else { panic!("two columns") };
        assert_eq!((id.kind, id.nullable, id.unsigned), (Kind::Long, false, None));
        assert_eq!((text.kind, text.meta, text.nullable), (Kind::Varchar, 300, true));
    }

    #[test]
    fn only_the_last_columns_of_mariadb_are_hidden_and_by_name_and_type() {
        // Column names: BIGINT, INT, BIGINT.
        let hidden = |flavor, names: [&str; 3]| -> Vec<bool> {
            let mut text = Vec::new();
            for name in names {
                text.push(name.len() as u8);
                text.extend(name.bytes());
            }
            let optional = [&[4, text.len() as u8][..], &text].concat();
            let table = table_of(&map(&[8, 3, 8], &[], &optional), flavor).unwrap();
            table.columns.iter().map(|column| column.meaning == Meaning::Hidden).collect()
        };
        let hashes = ["DB_ROW_HASH_1", "a", "DB_ROW_HASH_2"];
        assert_eq!(hidden(Flavor::Mariadb, hashes), [false, false, true]);
        assert_eq!(hidden(Flavor::Mysql, hashes), [false; 3]);
        let int = ["a", "DB_ROW_HASH_1", "DB_ROW_HASH_2"];
        assert_eq!(hidden(Flavor::Mariadb, int), [false, false, true]);
        assert_eq!(hidden(Flavor::Mariadb, ["a", "b", "DB_ROW_HASH_x"]), [false; 3]);
    }

    #[test]
    fn year_has_a_bit_of_signedness() {
        // TINY unsigned, YEAR, INT signed, BIGINT unsigned: 1 1 0 1.
        let table = table(&map(&[1, 13, 3, 8], &[], &[1, 1, 0b1101_0000])).unwrap();
        let unsigned: Vec<_> = table.columns.iter().map(|column| column.unsigned).collect();
        assert_eq!(unsigned, [Some(true), None, Some(false), Some(true)]);
    }

    #[test]
    fn an_optional_field_comes_once() {
        // TINY: its signedness, and again.
        assert!(table(&map(&[1], &[], &[1, 1, 0x80])).is_ok());
        assert!(table(&map(&[1], &[], &[1, 1, 0x80, 1, 1, 0x80])).is_err());
    }

    #[test]
    fn geometry_has_a_character_set_in_mariadb_only() {
        // GEOMETRY, VARCHAR; a character set per character column.
        let collations = |flavor, sets: &[u8]| -> Vec<_> {
            let table = table_of(&map(&[255, 15], &[4, 9, 0], sets), flavor).unwrap();
            table.columns.iter().map(|column| column.collation).collect()
        };
        assert_eq!(collations(Flavor::Mysql, &[3, 1, 8]), [None, Some(8)]);
        assert_eq!(collations(Flavor::Mariadb, &[3, 2, 63, 8]), [Some(63), Some(8)]);
    }

    #[test]
    fn a_collation_of_an_administrator_is_not_taken_for_one_of_mariadb() {
        let collation = |flavor| {
            let table = table_of(&map(&[15], &[9, 0], &[2, 3, 0xFC, 0x06, 0x04]), flavor).unwrap();
            table.columns[0].collation
        };
        assert_eq!(collation(Flavor::Mariadb), Some(1030), "hp8_english_nopad_ci");
        assert_eq!(collation(Flavor::Mysql), Some(0x8000 | 1030));
    }

    #[test]
    fn vector_has_a_character_set() {
        // VECTOR, VARCHAR; a character set each, then a default and the second's.
        for sets in [&[3, 2, 63, 8][..], &[2, 3, 63, 1, 8]] {
            let table = table(&map(&[242, 15], &[4, 9, 0], sets)).unwrap();
            assert_eq!(table.columns[1].collation, Some(8));
        }
    }

    #[test]
    fn signedness_of_another_length_is_refused() {
        let error = table(&map(&[1, 15], &[9, 0], &[1, 2, 0, 0])).unwrap_err();
        assert_eq!(error.reason, Reason::Invalid { value: 2 });
    }

    #[test]
    fn string_hides_its_real_type_and_a_long_length() {
        for (real, length, want) in [
            (254, 30, Some((Kind::String, 30))),
            (0xce, 0xfc, Some((Kind::String, 1020))),
            (247, 2, Some((Kind::Enum, 2))),
            (248, 8, Some((Kind::Set, 8))),
            (3, 8, None),
        ] {
            assert_eq!(unpack_string(real, length), want);
        }
    }

    #[test]
    fn full_metadata_is_read_whole() {
        let optional = [
            &[1, 1, 0x80][..], // INT unsigned
            &[2, 3, 45, 1, 8], // character columns: 45, the second 8
            &[4, 10, 1, b'i', 1, b's', 1, b'c', 1, b'e', 1, b'm'],
            &[5, 3, 1, 1, b'x'],                // the SET's members
            &[6, 6, 2, 1, b'a', 2, 0xe4, 0xe4], // the ENUM's, one not UTF-8
            &[11, 2, 45, 63],
            &[9, 4, 0, 0, 1, 5],
            &[12, 1, 0b1011_1000],
            &[99, 1, 0],
        ]
        .concat();
        let bytes = map(&[3, 15, 254, 254, 254], &[30, 0, 254, 9, 247, 1, 248, 1], &optional);
        let table = table(&bytes).unwrap();
        assert_eq!(table.names, Names::Log);
        assert_eq!(table.primary_key, [0, 1]);
        let [id, s, c, e, m] = table.columns.as_slice() else { panic!("five columns") };
        assert_eq!((id.unsigned, id.name.as_str()), (Some(true), "i"));
        assert_eq!((s.collation, s.visible), (Some(45), false));
        assert_eq!((c.collation, c.kind), (Some(8), Kind::String));
        assert_eq!((e.collation, e.kind, e.meta), (Some(45), Kind::Enum, 1));
        assert_eq!(e.labels, ["a", "\0e4e4"]);
        assert_eq!(*label_bytes(&e.labels[1]), [0xe4, 0xe4]);
        assert_eq!((m.collation, m.labels.as_slice()), (Some(63), &["x".to_owned()][..]));
    }

    #[test]
    fn every_label_survives() {
        for bytes in [&b""[..], b"plain", "ä".as_bytes(), &[0xe4], &[0, b'a'], &[0, b'a', 0, b'b']]
        {
            for collation in [None, Some(255), Some(8), Some(35), Some(1024 + 35), Some(60_000)] {
                assert_eq!(&*label_bytes(&label_text(bytes, collation)), bytes);
            }
        }
    }

    #[test]
    fn a_label_that_only_looks_like_utf8_is_not_taken_for_it() {
        let text = |bytes: &[u8], collation| label_text(bytes, Some(collation));
        assert_eq!(text("é".as_bytes(), 255), "é");
        assert_eq!(text("é".as_bytes(), 8), "\0c3a9", "two letters in latin1");
        assert_eq!(text(b"e", 8), "e");
        assert_eq!(text(b"N-", 35), "\x004e2d", "one letter in ucs2");
        assert_eq!(text(b"N-", 1024 + 35), "\x004e2d");
        assert_eq!(text(b"[", 10), "\x005b", "a letter in swe7");
    }

    #[test]
    fn too_many_columns_are_refused() {
        let mut bytes = vec![7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xfc, 1, 16];
        bytes.extend([3; 4097]);
        let error = table(&bytes).unwrap_err();
        assert_eq!(error.reason, Reason::Invalid { value: 4097 });
    }
}
