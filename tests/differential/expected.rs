//! What must come of each case: the table that this exam holds the decoder to.

use crate::harness::server::Flavour;

/// What must come of a case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Every row as the server's decoder has it, and in the end what SELECT says.
    Right,
    /// As [`Self::Right`], but so many rows of the log were rolled back, and the others come when they
    /// are committed.
    RightWithout(usize),
    /// Every row as the server's decoder has it; why the lines alone do not make the tables.
    RightButTables(&'static str),
    /// Exit code 3, no panic, and an error with these words.
    Refused(&'static str),
}
use Expected::{Refused, Right, RightButTables, RightWithout};

const DDL: &str = "DDL changes rows, and no line says so";

/// The expectation for one case.
pub fn of(flavour: Flavour, case: &str) -> Expected {
    match case {
        "ddl_all" | "ddl_charset" | "truncate" | "maria_alter_two_phase" | "txn_compression" => {
            RightButTables(DDL)
        }
        "stmt_format" | "mixed_format" | "load_data_stmt" => Refused("statement"),
        "partial_json" => {
            RightButTables("a MINIMAL row before has no JSON that its differences apply to")
        }
        // The log does not say how many digits these have, and so not where the next column begins.
        "types_temporal_old_hires" => Refused("types_temporal_old_hires.t"),
        "maria_versioned_trx" => Refused("a change logged as a statement"),
        "xa" => RightWithout(1),
        // What follows a temporary table is logged, though it is rolled back.
        "savepoints_myisam" if !flavour.is_mysql() => RightWithout(2),
        "dml_multi" if !flavour.is_mysql() => {
            RightButTables("MariaDB does not log what its foreign keys cascade")
        }
        "metadata_full" if !flavour.is_mysql() => {
            RightButTables("the last rows are logged without names")
        }
        "maria_versioned" | "maria_delete_history" => {
            RightButTables("history is kept in rows that SELECT does not show")
        }
        _ => Right,
    }
}
