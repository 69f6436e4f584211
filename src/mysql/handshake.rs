//! Greeting and answer: protocol version 10. No I/O.
//!
//! Format: MySQL's manual, "Connection Phase"; `sql/auth/sql_authentication.cc`.

use super::packet::{Fields, PacketError};
use crate::binlog::format::Flavor;

/// CLIENT_LONG_PASSWORD.
const LONG_PASSWORD: u32 = 0x1;
/// CLIENT_PROTOCOL_41.
const PROTOCOL_41: u32 = 0x200;
/// CLIENT_SSL.
pub const SSL: u32 = 0x800;
/// CLIENT_TRANSACTIONS.
const TRANSACTIONS: u32 = 0x2000;
/// CLIENT_SECURE_CONNECTION.
const SECURE_CONNECTION: u32 = 0x8000;
/// CLIENT_PLUGIN_AUTH.
const PLUGIN_AUTH: u32 = 0x8_0000;
/// CLIENT_CONNECT_ATTRS.
const CONNECT_ATTRS: u32 = 0x10_0000;
/// CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA.
const PLUGIN_AUTH_LENENC: u32 = 0x20_0000;

/// What we always need; CLIENT_LOCAL_FILES is not among it, ever.
const NEEDED: u32 = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
/// What we use if it is offered.
const WANTED: u32 = LONG_PASSWORD | TRANSACTIONS | CONNECT_ATTRS | PLUGIN_AUTH_LENENC;

/// utf8mb4_general_ci, which every server since 5.5 has.
const COLLATION: u8 = 45;
/// We take packets of up to 1 GiB.
const MAX_ALLOWED_PACKET: u32 = 1 << 30;

/// The server's first packet.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// As the server says it: `9.7.4`, `5.5.5-10.11.19-MariaDB-log`.
    pub version: String,
    /// The number of this connection at the server.
    pub connection: u32,
    /// Capability flags.
    pub capabilities: u32,
    /// The 20 bytes to be proven with.
    pub nonce: Vec<u8>,
    /// The plugin that the server would like.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Reads the greeting.
    ///
    /// # Errors
    /// Another protocol version, or a packet too short.
    pub fn decode(packet: &[u8]) -> Result<Self, PacketError> {
        let mut fields = Fields::new(packet);
        if fields.u8("greeting: protocol version")? != 10 {
            return Err(PacketError::Invalid { field: "greeting: protocol version" });
        }
        let version = String::from_utf8_lossy(fields.until_zero()).into_owned();
        let connection = fields.u32("greeting: connection id")?;
        let mut nonce = fields.bytes(8, "greeting: nonce")?.to_vec();
        fields.u8("greeting: filler")?;
        let low = fields.u16("greeting: capabilities")?;
        fields.u8("greeting: collation")?;
        fields.u16("greeting: status")?;
        let high = fields.u16("greeting: capabilities")?;
        let nonce_len = usize::from(fields.u8("greeting: nonce length")?);
        fields.bytes(10, "greeting: reserved")?;
        // "max(13, length - 8)", of which the last byte is a zero.
        nonce.extend_from_slice(fields.bytes(nonce_len.max(21) - 8, "greeting: nonce, 2")?);
        nonce.truncate(NONCE);
        let plugin = fields.until_zero().to_vec();
        let capabilities = u32::from(low) | u32::from(high) << 16;
        if capabilities & NEEDED != NEEDED {
            return Err(PacketError::Invalid { field: "greeting: capabilities" });
        }
        Ok(Self { version, connection, capabilities, nonce, plugin })
    }

    /// Whose server it is.
    pub fn flavor(&self) -> Flavor {
        if self.version.contains("MariaDB") { Flavor::Mariadb } else { Flavor::Mysql }
    }

    /// The version's numbers; zeros where it does not say.
    pub fn numbers(&self) -> (u32, u32, u32) {
        // MariaDB before 11 says 5.5.5- first, for old replicas.
        let text = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|digits| digits.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The flags we answer with.
    fn answer(&self, tls: bool) -> u32 {
        NEEDED | (WANTED & self.capabilities) | if tls { SSL } else { 0 }
    }

    /// The packet that asks for TLS, sent before anything secret.
    pub fn tls_request(&self) -> Vec<u8> {
        self.head(true)
    }

    fn head(&self, tls: bool) -> Vec<u8> {
        let mut out = self.answer(tls).to_le_bytes().to_vec();
        out.extend_from_slice(&MAX_ALLOWED_PACKET.to_le_bytes());
        out.push(COLLATION);
        out.extend_from_slice(&[0; 23]);
        out
    }

    /// The packet that logs in.
    pub fn login(&self, tls: bool, user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
        let mut out = self.head(tls);
        out.extend_from_slice(user.as_bytes());
        out.push(0);
        // A proof has 0, 20 or 32 bytes: its length is one byte in either encoding.
        out.push(proof.len() as u8);
        out.extend_from_slice(proof);
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
        if self.answer(tls) & CONNECT_ATTRS != 0 {
            let mut attributes = Vec::new();
            for (name, value) in
                [("program_name", "rivulet"), ("_client_version", env!("CARGO_PKG_VERSION"))]
            {
                for text in [name, value] {
                    attributes.push(text.len() as u8);
                    attributes.extend_from_slice(text.as_bytes());
                }
            }
            out.push(attributes.len() as u8);
            out.extend_from_slice(&attributes);
        }
        out
    }
}

/// Bytes of a nonce.
pub const NONCE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting as a server would send it.
    fn greeting(version: &str, capabilities: u32) -> Vec<u8> {
        let [a, b, c, d] = capabilities.to_le_bytes();
        let mut out = vec![10];
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(&[0, 7, 0, 0, 0]);
        out.extend_from_slice(b"12345678\0");
        out.extend_from_slice(&[a, b, 45, 2, 0, c, d, 21]);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(b"abcdefghijkl\0caching_sha2_password\0");
        out
    }

    #[test]
    fn a_greeting_is_read() {
        let found = Greeting::decode(&greeting("9.7.4", 0xffff_ffff)).unwrap();
        assert_eq!(found.nonce, b"12345678abcdefghijkl");
        assert_eq!(found.plugin, b"caching_sha2_password");
        assert_eq!((found.connection, found.numbers()), (7, (9, 7, 4)));
        assert_eq!(found.flavor(), Flavor::Mysql);
        let found = Greeting::decode(&greeting("5.5.5-10.11.19-MariaDB-log", 0xffff_ffff)).unwrap();
        assert_eq!((found.flavor(), found.numbers()), (Flavor::Mariadb, (10, 11, 19)));
    }

    #[test]
    fn a_torn_or_foreign_greeting_is_an_error() {
        let whole = greeting("9.7.4", 0xffff_ffff);
        for end in 0..whole.len() - 23 {
            assert!(Greeting::decode(&whole[..end]).is_err(), "{end}");
        }
        assert!(Greeting::decode(&greeting("4.0", 0)).is_err());
    }

    #[test]
    fn local_files_are_never_offered() {
        const LOCAL_FILES: u32 = 0x80;
        let found = Greeting::decode(&greeting("9.7.4", 0xffff_ffff)).unwrap();
        for tls in [false, true] {
            let login = found.login(tls, "u", &[1; 20], "mysql_native_password");
            let flags = u32::from_le_bytes(login[..4].try_into().unwrap());
            assert_eq!(flags & LOCAL_FILES, 0);
            assert_eq!(flags & SSL != 0, tls);
            assert!(login[32..].starts_with(b"u\0\x14"));
        }
    }
}
