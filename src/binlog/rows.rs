//! Row images: which rows a statement changed, split into columns.

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
}
