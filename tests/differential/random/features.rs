//! What the generator may use. All of it is written; what the decoder refuses by design, or cannot do
//! yet, is switched off here and nowhere else.

/// MySQL: `binlog_transaction_compression`.
pub const TRANSACTION_COMPRESSION: bool = true;
/// MariaDB: `log_bin_compress`.
pub const LOG_BIN_COMPRESS: bool = true;
/// MySQL: `binlog_row_value_options=PARTIAL_JSON`.
pub const PARTIAL_JSON: bool = true;
/// XA transactions in two phases.
pub const XA: bool = true;
/// Members of ENUM and SET whose bytes are UTF-8 in a character set that is not.
pub const MEMBERS_IN_UTF16LE: bool = true;
/// MariaDB: what a UUID, INET or JSON column means is asked of a live server although its log has names.
pub const MEANINGS_BESIDE_NAMES: bool = true;
