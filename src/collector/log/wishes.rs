//! SHELL: sinks that are to go back, and numbers that stand for nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Log, LogError, Reader};
use crate::buffer::file::Transaction;

impl Log {
    /// Numbers up to this one are used already: by a sink that has seen a part of the log that was lost with
    /// it. Entries go on behind them. Returns how many numbers are void.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn begin_behind(&mut self, number: u64) -> Result<u64, LogError> {
        if number <= self.last {
            return Ok(0);
        }
        let transaction = Transaction::begin(&self.db)?;
        let (first, last) = (self.last + 1, number);
        let range = [first.cast_signed(), last.cast_signed()];
        // One behind the other is one.
        if transaction.execute("UPDATE void SET last = ?2 WHERE last = ?1 - 1", range)? == 0 {
            transaction.execute("INSERT INTO void (first, last) VALUES (?1, ?2)", range)?;
        }
        transaction.execute("UPDATE mark SET last = ?1", [last.cast_signed()])?;
        transaction.commit()?;
        self.last = last;
        Ok(last - first + 1)
    }
}

impl Reader {
    /// Wishes that a sink goes on behind this entry: its feed does so as soon as it runs.
    ///
    /// # Errors
    /// [`LogError::Pruned`] if what follows has been forgotten; nothing is wished then.
    pub fn wish_replay(&mut self, sink: &str, after: u64) -> Result<(), LogError> {
        let transaction = Transaction::begin(&self.db)?;
        let oldest: Option<i64> =
            transaction.query_row("SELECT min(number) FROM entry", [], |row| row.get(0))?;
        let oldest = match oldest {
            Some(oldest) => oldest.cast_unsigned(),
            None => super::last(&transaction)? + 1,
        };
        if after + 1 < oldest {
            return Err(LogError::Pruned { wanted: after + 1, oldest });
        }
        let replace = "INSERT OR REPLACE INTO replay (sink, number) VALUES (?1, ?2)";
        transaction.execute(replace, params![sink, after.cast_signed()])?;
        Ok(transaction.commit()?)
    }

    /// The entry behind which this sink is to go on.
    pub fn replay_wish(&self, sink: &str) -> Result<Option<u64>, LogError> {
        let select = "SELECT number FROM replay WHERE sink = ?1";
        let mut select = self.db.prepare_cached(select)?;
        let number: Option<i64> = select.query_row([sink], |row| row.get(0)).optional()?;
        Ok(number.map(i64::cast_unsigned))
    }

    /// The sink has gone back.
    pub fn replay_honoured(&mut self, sink: &str, after: u64) -> Result<(), LogError> {
        let delete = "DELETE FROM replay WHERE sink = ?1 AND number = ?2";
        self.db.execute(delete, params![sink, after.cast_signed()])?;
        Ok(())
    }

    /// The agents whose batches are or were here.
    pub fn agents(&self) -> Result<Vec<String>, LogError> {
        let mut select = self.db.prepare("SELECT agent FROM ledger ORDER BY agent")?;
        let agents = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(agents)
    }

    /// The first entry that was logged at this time or later, in Unix seconds; `None` if there is none.
    pub fn since(&self, time_s: u64) -> Result<Option<u64>, LogError> {
        let select = "SELECT min(e.number) FROM entry e JOIN message m ON m.id = e.id \
                      WHERE m.logged_s >= ?1";
        let time_s = i64::try_from(time_s).unwrap_or(i64::MAX);
        let number: Option<i64> = self.db.query_row(select, [time_s], |row| row.get(0))?;
        Ok(number.map(i64::cast_unsigned))
    }

    /// The entry at or before this one with which its transaction begins.
    pub fn transaction_start(&self, number: u64) -> Result<u64, LogError> {
        let select = "SELECT max(number) FROM entry WHERE number < ?1 AND ends = 1";
        let before: Option<i64> =
            self.db.query_row(select, [number.cast_signed()], |row| row.get(0))?;
        let oldest: Option<u64> = self.oldest()?;
        Ok(before.map_or(oldest.unwrap_or(number), |before| before.cast_unsigned() + 1).min(number))
    }
}

/// What some sink still wants, as the number before it; all numbers if none does.
pub(super) fn lowest(db: &Connection) -> Result<u64, LogError> {
    let lowest: Option<i64> =
        db.query_row("SELECT min(number) FROM replay", [], |row| row.get(0))?;
    Ok(lowest.map_or(u64::MAX, i64::cast_unsigned))
}

/// Whether nothing was ever numbered from `first` to before `next`.
pub(super) fn is_void(db: &Connection, first: u64, next: u64) -> Result<bool, LogError> {
    let select = "SELECT 1 FROM void WHERE first <= ?1 AND last >= ?2";
    let range = [first.cast_signed(), next.saturating_sub(1).cast_signed()];
    Ok(db.query_row(select, range, |_| Ok(())).optional()?.is_some())
}
