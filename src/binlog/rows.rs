//! Row images: which rows a statement changed, split into columns.
//!
//! ```text
//!  table id | flags u16 | (v2: length u16, extra) | column count | a bit per column: in the before image
//!  | (updates: a bit per column: in the after image) | image | image | …
//!
//!  image = a bit per column that is in it: NULL | the values of the others, in the order of columns
//! ```
//!
//! The after images of PARTIAL_UPDATE_ROWS begin with options, a packed integer; if its lowest bit is
//! set, a bit follows for each JSON column of the table, in the image or not: is its value a list of
//! differences from the before image?
//!
//! Source: `Rows_event` in `libs/mysql/binlog/event/rows_event.h`, `pack_row` in `sql/rpl_record.cc`;
//! MariaDB writes version 1 only.

use super::format::Format;
use super::header::EventKind;
use super::old_temporal;
use super::reader::{DecodeError, Reader, Reason};
use super::table::{Column, Kind, Table};
use super::table_map::{bit, decode_column_count, decode_table_id};
use super::width::take;
pub use super::width::{Width, length_prefix_bytes, value_len, width};

/// What happened to a row.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Only an after image.
    Insert,
    /// Before and after images.
    Update,
    /// Only a before image.
    Delete,
}

/// One column's value in a row image, still as the log has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cell<'a> {
    /// Not in the image (`binlog_row_image` MINIMAL or NOBLOB): unknown, not NULL.
    #[default]
    Absent,
    /// NULL.
    Null,
    /// The value's bytes; for types that carry a length (CHAR, VARCHAR, BLOB, JSON, GEOMETRY, …)
    /// without it, for all others exactly as they are.
    Value(&'a [u8]),
    /// In the after image of an update of MySQL's (`binlog_row_value_options=PARTIAL_JSON`): what makes
    /// the JSON of the before image that of the after image, as `Json_diff_vector` in
    /// `sql-common/json_diff.h` writes it; empty if nothing changed.
    JsonDiff(&'a [u8]),
}

/// The last rows event of its statement.
pub const ROWS_STATEMENT_END: u16 = 0x0001;

/// The table id of an event that only ends a statement.
const TABLE_ID_DUMMY: u64 = 0xff_ffff;

/// The rows of one table that a statement changed, or a part of them; still encoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowsEvent<'a> {
    /// As in the table map before it.
    pub table_id: u64,
    /// What happened to all of the rows.
    pub operation: Operation,
    /// [`ROWS_STATEMENT_END`] and others.
    pub flags: u16,
    /// The table's columns, at most 4096.
    pub column_count: usize,
    /// A bit per column, from the low end: is it in the before image? Empty for inserts.
    pub before_present: &'a [u8],
    /// The same for the after image. Empty for deletes.
    pub after_present: &'a [u8],
    /// The images, one behind the other.
    pub images: &'a [u8],
    images_at: usize,
    /// After images are those of PARTIAL_UPDATE_ROWS.
    partial: bool,
}

impl<'a> RowsEvent<'a> {
    pub(super) fn decode(
        kind: EventKind,
        reader: &mut Reader<'a>,
        format: Option<&Format>,
    ) -> Result<Self, DecodeError> {
        use EventKind as K;
        let table_id =
            decode_table_id(reader, format.is_some_and(|it| it.has_short_table_id(kind)))?;
        let flags = reader.u16("rows: flags")?;
        let operation = match kind {
            K::WriteRowsV1 | K::WriteRowsV2 => Operation::Insert,
            K::UpdateRowsV1 | K::UpdateRowsV2 | K::PartialUpdateRows => Operation::Update,
            K::DeleteRowsV1 | K::DeleteRowsV2 => Operation::Delete,
            _ => return Err(reader.invalid(kind.code().into(), "rows: event type")),
        };
        if !matches!(kind, K::WriteRowsV1 | K::UpdateRowsV1 | K::DeleteRowsV1) {
            drop_extra(operation, reader)?;
        }
        let column_count = decode_column_count(reader)?;
        let mut present = |wanted| match wanted {
            true => reader.bytes(column_count.div_ceil(8), "rows: columns present"),
            false => Ok(&[][..]),
        };
        let before_present = present(operation != Operation::Insert)?;
        let after_present = present(operation != Operation::Delete)?;
        let images_at = reader.at();
        let images = reader.rest();
        Ok(Self {
            table_id,
            operation,
            flags,
            column_count,
            before_present,
            after_present,
            images,
            images_at,
            partial: kind == K::PartialUpdateRows,
        })
    }

    /// Whether this event only ends a statement: it has no table and no rows.
    pub fn is_dummy(&self) -> bool {
        self.table_id == TABLE_ID_DUMMY && self.column_count == 0 && self.images.is_empty()
    }

    /// Whether the statement ends with this event.
    pub fn ends_statement(&self) -> bool {
        self.flags & ROWS_STATEMENT_END != 0
    }

    /// Splits the rows by the table that they were written with.
    ///
    /// Fails if the table has another number of columns, or if there is no row to be seen: an
    /// insert into a table none of whose columns is in the image leaves no trace of its rows.
    pub fn rows<'t>(&self, table: &'t Table) -> Result<RowIter<'a, 't>, DecodeError> {
        let reader = Reader::starting_at(self.images, self.images_at);
        if table.columns.len() != self.column_count {
            return Err(reader.invalid(self.column_count as u64, "rows: column count"));
        }
        if self.images.is_empty() && !self.is_dummy() {
            return Err(reader.error("rows", Reason::Missing { what: "the image of a row" }));
        }
        let image = |present| Image::new(present, self.column_count);
        Ok(RowIter {
            reader,
            table,
            before: (self.operation != Operation::Insert).then(|| image(self.before_present)),
            after: (self.operation != Operation::Delete).then(|| image(self.after_present)),
            partial: self.partial,
            unproven: table.columns.iter().any(old_temporal::is_unproven),
        })
    }
}

/// What follows the flags of version 2: the cluster engine's own note, and the numbers of partitions.
/// Neither says anything of the rows. What later releases put there is behind a type that is not known.
fn drop_extra(operation: Operation, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    const FIELD: &str = "rows: extra";
    let len = reader.u16("rows: extra length")?;
    // The length counts its own two bytes.
    let Some(len) = len.checked_sub(2) else {
        return Err(reader.invalid(len.into(), "rows: extra length"));
    };
    let at = reader.at();
    let mut extra = Reader::starting_at(reader.bytes(len.into(), FIELD)?, at);
    while !extra.is_empty() {
        match extra.u8(FIELD)? {
            EXTRA_NDB => {
                // It counts itself and the format behind it.
                let len = extra.u8("rows: extra: length of NDB's")?;
                let Some(len) = len.checked_sub(1).filter(|len| *len > 0) else {
                    return Err(extra.invalid(len.into(), "rows: extra: length of NDB's"));
                };
                extra.bytes(len.into(), "rows: extra: NDB's")?;
            }
            EXTRA_PARTITION => {
                extra.u16("rows: extra: partition")?;
                if operation == Operation::Update {
                    extra.u16("rows: extra: partition before")?;
                }
            }
            _ => break,
        }
    }
    Ok(())
}

/// `enum_extra_row_info_typecode`.
const EXTRA_NDB: u8 = 0;
const EXTRA_PARTITION: u8 = 1;

/// Which columns are in an image.
#[derive(Clone, Copy, Debug)]
struct Image<'a> {
    present: &'a [u8],
    present_count: usize,
}

impl<'a> Image<'a> {
    fn new(present: &'a [u8], column_count: usize) -> Self {
        let (whole, rest) = (column_count / 8, column_count % 8);
        let ones = |byte: u8| byte.count_ones() as usize;
        let in_whole: usize = present.iter().take(whole).map(|byte| ones(*byte)).sum();
        let last = present.get(whole).map_or(0, |byte| byte & !(u8::MAX << rest));
        let present_count = in_whole + ones(last);
        Self { present, present_count }
    }

    /// Splits an image into a cell per column. At an error the cells are those before it.
    #[inline(never)]
    fn split(
        &self,
        table: &Table,
        reader: &mut Reader<'a>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), DecodeError> {
        let nulls = reader.bytes(self.present_count.div_ceil(8), "row: which are NULL");
        let nulls = nulls.inspect_err(|_| cells.clear())?;
        let columns = table.columns.as_slice();
        // No cell is written twice but in the first row of a wider table.
        if cells.len() != columns.len() {
            cells.resize(columns.len(), Cell::Absent);
        }
        let split = match self.present_count == columns.len() {
            true => split_all(columns, nulls, reader.peek(), cells),
            false => self.split_present(columns, nulls, reader.peek(), cells),
        };
        match split {
            Ok(rest) => {
                reader.skip_to(rest);
                Ok(())
            }
            Err((index, rest)) => {
                reader.skip_to(rest);
                cells.truncate(index);
                Err(refusal(columns, index, reader))
            }
        }
    }

    /// Where not all columns are in the image.
    fn split_present(
        &self,
        columns: &[Column],
        nulls: &[u8],
        mut rest: &'a [u8],
        cells: &mut [Cell<'a>],
    ) -> Result<&'a [u8], (usize, &'a [u8])> {
        let mut nth = 0;
        for (index, (column, cell)) in columns.iter().zip(cells).enumerate() {
            if !bit(self.present, index) {
                *cell = Cell::Absent;
                continue;
            }
            let is_null = bit(nulls, nth);
            nth += 1;
            if is_null {
                *cell = Cell::Null;
                continue;
            }
            let Some((value, tail)) = take(column, rest) else { return Err((index, rest)) };
            (*cell, rest) = (Cell::Value(value), tail);
        }
        Ok(rest)
    }

    /// The same for the after image of PARTIAL_UPDATE_ROWS, whose lists of differences have the width
    /// of the values that they stand for.
    fn split_partial(
        &self,
        table: &Table,
        reader: &mut Reader<'a>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), DecodeError> {
        cells.clear();
        let options = reader.lenenc("row: value options")?;
        if options & !PARTIAL_JSON != 0 {
            return Err(reader.invalid(options, "row: value options"));
        }
        let is_json =
            |index: &usize| table.columns.get(*index).is_some_and(|c| c.kind == Kind::Json);
        let json = (0..table.columns.len()).filter(is_json);
        let partial = match options {
            0 => &[],
            _ => reader.bytes(json.clone().count().div_ceil(8), "row: which are partial")?,
        };
        self.split(table, reader, cells)?;
        for (nth, index) in json.enumerate() {
            if bit(partial, nth)
                && let Some(cell) = cells.get_mut(index)
                && let Cell::Value(diffs) = *cell
            {
                *cell = Cell::JsonDiff(diffs);
            }
        }
        Ok(())
    }

    /// Whether the server's own marks are on the image: the unused bits behind those for NULL are set,
    /// and no column is NULL that cannot be. Only MariaDB's are asked for them.
    fn is_sound(&self, table: &Table, nulls: &[u8], cells: &[Cell<'_>]) -> bool {
        let unused = self.present_count..nulls.len() * 8;
        unused.into_iter().all(|index| bit(nulls, index))
            && table.columns.iter().zip(cells).all(|(column, cell)| match cell {
                Cell::Null => column.nullable,
                Cell::Value(bytes) => old_temporal::is_plausible(column, bytes),
                Cell::Absent | Cell::JsonDiff(_) => true,
            })
    }
}

/// `PARTIAL_JSON_UPDATES` of `enum_binlog_row_value_options`.
const PARTIAL_JSON: u64 = 1;

/// Behind the marks of eight columns.
const END_OF_MARKS: u32 = 1 << 8;

/// Splits an image that has all columns; says what follows it, or which column does not fit there.
///
/// A byte of `nulls` stands for eight columns. There is a cell for each column.
#[inline(always)]
fn split_all<'a>(
    columns: &[Column],
    nulls: &[u8],
    mut rest: &'a [u8],
    cells: &mut [Cell<'a>],
) -> Result<&'a [u8], (usize, &'a [u8])> {
    let (mut cells, mut nulls) = (cells.iter_mut(), nulls.iter());
    // The marks of the columns to come, and a last one behind them.
    let mut marks = 1;
    for column in columns {
        if marks == 1 {
            marks = END_OF_MARKS | u32::from(nulls.next().copied().unwrap_or_default());
        }
        let Some(cell) = cells.next() else { break };
        if marks & 1 == 1 {
            *cell = Cell::Null;
        } else if let Some((value, tail)) = take(column, rest) {
            (*cell, rest) = (Cell::Value(value), tail);
        } else {
            return Err((columns.len() - cells.len() - 1, rest));
        }
        marks >>= 1;
    }
    Ok(rest)
}

/// Why the value of this column cannot be taken off.
#[cold]
fn refusal(columns: &[Column], index: usize, reader: &mut Reader<'_>) -> DecodeError {
    let again = columns.get(index).map(|column| super::width::split(column, reader));
    let error = again.and_then(Result::err).expect("what failed once fails again");
    error.of_column(index)
}

/// The rows of an event, one after the other.
#[derive(Clone, Debug)]
pub struct RowIter<'a, 't> {
    reader: Reader<'a>,
    table: &'t Table,
    before: Option<Image<'a>>,
    after: Option<Image<'a>>,
    partial: bool,
    /// A column has a width that is assumed, and each row must bear it out.
    unproven: bool,
}

impl<'a> RowIter<'a, '_> {
    /// Splits the next row into `before` and `after`, which are emptied first and then hold a
    /// cell per column, or stay empty where the operation has no such image. False at the end.
    ///
    /// Fails, naming the column, if a value does not fit; then the vectors hold what came before.
    pub fn next_row(
        &mut self,
        before: &mut Vec<Cell<'a>>,
        after: &mut Vec<Cell<'a>>,
    ) -> Result<bool, DecodeError> {
        let left = self.reader.left();
        if left == 0 {
            before.clear();
            after.clear();
            return Ok(false);
        }
        if self.unproven {
            self.split_unproven(before, after)?;
        } else {
            self.split(before, after)?;
        }
        if self.reader.left() == left {
            return Err(self.reader.error("row", Reason::Trailing { left }));
        }
        Ok(true)
    }

    #[inline]
    fn split(
        &mut self,
        before: &mut Vec<Cell<'a>>,
        after: &mut Vec<Cell<'a>>,
    ) -> Result<(), DecodeError> {
        // What the last row left there is overwritten, which is cheaper than beginning anew.
        match &self.before {
            Some(image) => {
                let split = image.split(self.table, &mut self.reader, before);
                split.inspect_err(|_| after.clear())?;
            }
            None => before.clear(),
        }
        match &self.after {
            Some(image) if self.partial => image.split_partial(self.table, &mut self.reader, after),
            Some(image) => image.split(self.table, &mut self.reader, after),
            None => {
                after.clear();
                Ok(())
            }
        }
    }

    #[cold]
    fn split_unproven(
        &mut self,
        before: &mut Vec<Cell<'a>>,
        after: &mut Vec<Cell<'a>>,
    ) -> Result<(), DecodeError> {
        let index = self.table.columns.iter().position(old_temporal::is_unproven).unwrap_or(0);
        let start = self.reader.clone();
        let what = old_temporal::UNPROVEN;
        let refused = start.error("row", Reason::Unsupported { what }).of_column(index);
        for (image, cells) in [(self.before, before), (self.after, after)] {
            let Some(image) = image else {
                cells.clear();
                continue;
            };
            let len = image.present_count.div_ceil(8);
            let nulls = self.reader.peek().get(..len).unwrap_or_default();
            let split = image.split(self.table, &mut self.reader, cells);
            if split.is_err() || !image.is_sound(self.table, nulls, cells) {
                return Err(refused);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{Column, Kind};
    use super::*;

    fn table() -> Table {
        let column = |name: &str, kind, meta| Column {
            name: name.to_owned(),
            kind,
            meta,
            ..Column::default()
        };
        Table {
            schema: "d".to_owned(),
            name: "t".to_owned(),
            columns: vec![
                column("id", Kind::Long, 0),
                column("name", Kind::Varchar, 20),
                column("note", Kind::Blob, 2),
            ],
            ..Table::default()
        }
    }

    type Row<'a> = (Vec<Cell<'a>>, Vec<Cell<'a>>);

    fn rows<'a>(kind: EventKind, bytes: &'a [u8]) -> Result<Vec<Row<'a>>, DecodeError> {
        let event = RowsEvent::decode(kind, &mut Reader::new(bytes), None)?;
        let table = table();
        let mut iter = event.rows(&table)?;
        let (mut all, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        while iter.next_row(&mut before, &mut after)? {
            all.push((before.clone(), after.clone()));
        }
        Ok(all)
    }

    /// An update of version 2: before image with all columns, after image with the last two.
    const UPDATE: &[u8] = &[
        7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b111, 0b110, // heads
        0b100, 5, 0, 0, 0, 1, b'a', // before: 5, "a", NULL
        0b00, 2, b'b', b'c', 1, 0, b'x', // after: absent, "bc", "x"
        0b110, 6, 0, 0, 0, 0b11, // before: 6, NULL, NULL; after: absent, NULL, NULL
    ];

    #[test]
    fn absent_is_not_null() {
        let rows = rows(EventKind::UpdateRowsV2, UPDATE).unwrap();
        let [(before, after), (_, last)] = rows.as_slice() else { panic!("two rows: {rows:?}") };
        assert_eq!(before[..], [Cell::Value(&[5, 0, 0, 0]), Cell::Value(b"a"), Cell::Null]);
        assert_eq!(after[..], [Cell::Absent, Cell::Value(b"bc"), Cell::Value(b"x")]);
        assert_eq!(last[..], [Cell::Absent, Cell::Null, Cell::Null]);
    }

    #[test]
    fn every_truncation_inside_a_row_is_an_error_that_names_the_column() {
        let heads = 13;
        for len in heads + 1..UPDATE.len() {
            // Between two rows the event is whole.
            if len == heads + 14 {
                continue;
            }
            let error = rows(EventKind::UpdateRowsV2, &UPDATE[..len]).unwrap_err();
            assert!(matches!(error.reason, Reason::Truncated { .. }), "{len}: {error}");
        }
        let error = rows(EventKind::UpdateRowsV2, &UPDATE[..heads + 3]).unwrap_err();
        let text = error.in_table(&table()).to_string();
        assert_eq!(text, "d.t.id: row: value at +14: wanted 4 bytes, 2 left");
    }

    /// Two JSON columns and an integer; the after image has not the first.
    const PARTIAL: &[u8] = &[
        7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b111, 0b110, // heads
        0b100, 9, 0, 0, 0, 2, 0, 0, 0, b'{', b'}', // before: 9, "{}", NULL
        1, 0b11, 0b10, 3, 0, 0, 0, b'd', b'i', b'f', // after: both partial, the second NULL
        0b110, 9, 0, 0, 0, // before: 9, NULL, NULL
        1, 0b10, 0b00, 1, 0, 0, 0, b'x', 0, 0, 0, 0, // after: whole, and no differences
        0b110, 9, 0, 0, 0, // before
        0, 0b10, 1, 0, 0, 0, b'y', // after: no options, no bits
    ];

    fn partial_table() -> Table {
        let mut table = table();
        table.columns[1].kind = Kind::Json;
        table.columns[2].kind = Kind::Json;
        table.columns.iter_mut().skip(1).for_each(|column| column.meta = 4);
        table
    }

    fn partial_rows(bytes: &[u8]) -> Result<Vec<Row<'_>>, DecodeError> {
        let event = RowsEvent::decode(EventKind::PartialUpdateRows, &mut Reader::new(bytes), None)?;
        let table = partial_table();
        let mut iter = event.rows(&table)?;
        let (mut all, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
        while iter.next_row(&mut before, &mut after)? {
            all.push((before.clone(), after.clone()));
        }
        Ok(all)
    }

    #[test]
    fn differences_are_told_from_documents_row_by_row() {
        let rows = partial_rows(PARTIAL).unwrap();
        let after: Vec<_> = rows.iter().map(|(_, after)| after[1..].to_vec()).collect();
        assert_eq!(rows[0].0[1], Cell::Value(b"{}"));
        assert_eq!(after[0], [Cell::JsonDiff(b"dif"), Cell::Null]);
        assert_eq!(after[1], [Cell::Value(b"x"), Cell::JsonDiff(b"")]);
        assert_eq!(after[2], [Cell::Value(b"y"), Cell::Null]);
    }

    #[test]
    fn every_truncation_of_a_partial_update_is_an_error_but_between_rows() {
        let ends = [13 + 11 + 10, 13 + 11 + 10 + 5 + 12];
        for len in 14..PARTIAL.len() {
            let rows = partial_rows(&PARTIAL[..len]);
            assert_eq!(rows.is_ok(), ends.contains(&len), "{len}: {rows:?}");
        }
        let mut other = PARTIAL.to_vec();
        other[24] = 3;
        let error = partial_rows(&other).unwrap_err();
        assert_eq!(error.to_string(), "row: value options at +25: 3 is not a legal value");
    }

    #[test]
    fn what_the_server_notes_beside_the_rows_is_checked() {
        let with = |extra: &[u8]| {
            let len = (extra.len() + 2) as u8;
            let heads = [&[7, 0, 0, 0, 0, 0, 1, 0, len, 0][..], extra].concat();
            let row = [3, 0b111, 0b111, 0b110, 5, 0, 0, 0, 0b110, 6, 0, 0, 0];
            rows(EventKind::UpdateRowsV2, &[&heads[..], &row].concat()).map(|rows| rows.len())
        };
        assert_eq!(with(&[0, 4, 0, 8, 9]), Ok(1), "NDB's");
        assert_eq!(with(&[1, 3, 0, 2, 0]), Ok(1), "two partitions");
        assert_eq!(with(&[0, 3, 0, 8, 1, 3, 0, 2, 0]), Ok(1), "both");
        assert_eq!(with(&[9, 1, 2, 3]), Ok(1), "a later release's");
        for torn in [&[0][..], &[0, 1], &[0, 9, 0], &[1, 3, 0, 2]] {
            assert!(with(torn).is_err(), "{torn:?}");
        }
    }

    #[test]
    fn an_old_temporal_column_without_digits_is_believed_as_long_as_all_fits() {
        let column = |kind, meta| Column { kind, meta, nullable: true, ..Column::default() };
        let mut table = Table {
            columns: vec![
                column(Kind::Time, old_temporal::DIGITS_UNKNOWN),
                Column { nullable: false, ..column(Kind::Tiny, 0) },
            ],
            ..Table::default()
        };
        let split = |table: &Table, images: &[u8]| {
            let bytes = [&[7, 0, 0, 0, 0, 0, 1, 0, 2, 0b11][..], images].concat();
            let mut reader = Reader::new(&bytes);
            let event = RowsEvent::decode(EventKind::WriteRowsV1, &mut reader, None)?;
            let mut iter = event.rows(table)?;
            let (mut before, mut after, mut count) = (Vec::new(), Vec::new(), 0);
            while iter.next_row(&mut before, &mut after)? {
                count += 1;
            }
            Ok::<_, DecodeError>(count)
        };
        // 83:59:59, twice; then what shows that there are digits after all.
        let fine = [0xfc, 0x77, 0xc1, 0x0c, 1, 0xfd, 2];
        assert_eq!(split(&table, &fine), Ok(2));
        for wrong in [
            &[0xfc, 0x3c, 0, 0, 1][..],   // 60 seconds
            &[0x00, 0x77, 0xc1, 0x0c, 1], // the unused bits are not set
            &[0xfe, 0x77, 0xc1, 0x0c],    // NULL where it cannot be
            &[0xfc, 0x77, 0xc1, 0x0c],    // torn
        ] {
            let error = split(&table, wrong).unwrap_err();
            assert!(error.to_string().contains("through the server"), "{error}");
        }
        table.columns[0].meta = 1;
        assert_eq!(split(&table, &[0xfc, 1, 2, 3, 4, 1]), Ok(1));
        table.columns[0].meta = 0;
        assert_eq!(split(&table, &[0x00, 0x3c, 0, 0, 1]), Ok(1), "what is known is not doubted");
    }

    #[test]
    fn an_error_leaves_nothing_of_the_row_before() {
        let table = table();
        let heads = 13;
        for (cut, before_len) in [(UPDATE.len() - 1, 3), (heads + 14 + 2, 0)] {
            let mut reader = Reader::new(&UPDATE[..cut]);
            let event = RowsEvent::decode(EventKind::UpdateRowsV2, &mut reader, None).unwrap();
            let mut iter = event.rows(&table).unwrap();
            let (mut before, mut after) = (Vec::new(), Vec::new());
            assert!(iter.next_row(&mut before, &mut after).unwrap());
            assert!(iter.next_row(&mut before, &mut after).is_err(), "{cut}");
            assert_eq!((before.len(), after.len()), (before_len, 0), "{cut}");
        }
    }

    #[test]
    fn an_insert_without_a_trace_is_an_error() {
        let error = rows(EventKind::WriteRowsV1, &[7, 0, 0, 0, 0, 0, 1, 0, 3, 0]).unwrap_err();
        assert!(matches!(error.reason, Reason::Missing { .. }));
        // No column is present, yet bytes are left: no row takes any.
        let error = rows(EventKind::WriteRowsV1, &[7, 0, 0, 0, 0, 0, 1, 0, 3, 0, 9]).unwrap_err();
        assert_eq!(error.reason, Reason::Trailing { left: 1 });
    }

    #[test]
    fn a_dummy_event_only_ends_the_statement() {
        let bytes = [0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 2, 0, 0];
        let event =
            RowsEvent::decode(EventKind::WriteRowsV2, &mut Reader::new(&bytes), None).unwrap();
        assert!(event.is_dummy() && event.ends_statement());
    }

    #[test]
    fn another_number_of_columns_is_refused() {
        let error = rows(EventKind::WriteRowsV1, &[7, 0, 0, 0, 0, 0, 1, 0, 2, 3, 0]).unwrap_err();
        assert_eq!(error.reason, Reason::Invalid { value: 2 });
    }
}
