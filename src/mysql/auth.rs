//! What proves a password without sending it. No I/O.
//!
//! | plugin | the proof |
//! |---|---|
//! | `mysql_native_password` | SHA1(p) ⊕ SHA1(nonce, SHA1(SHA1(p))) |
//! | `caching_sha2_password`, fast | SHA256(p) ⊕ SHA256(SHA256(SHA256(p)), nonce) |
//! | `caching_sha2_password`, full | the password itself: in clear inside TLS or a unix socket, else under the server's RSA key |
//!
//! Sources: `sql-common/client.cc`, `sql/auth/sha2_password.cc`.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rsa::pkcs8::DecodePublicKey;
use rsa::rand_core::OsRng;

/// A password. It has no `Debug` and no `Display`, so that it cannot be printed by accident.
#[derive(Clone, Default)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes the password's bytes as the server knows them (UTF-8).
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Followed by a zero, as full authentication sends it.
    pub(super) fn with_zero(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0]].concat()
    }
}

/// The way of proving that the server asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plugin {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    CachingSha2,
}

impl Plugin {
    /// By its name on the wire; `None` for those that we do not speak.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"mysql_native_password" => Some(Self::Native),
            b"caching_sha2_password" => Some(Self::CachingSha2),
            _ => None,
        }
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The proof for a nonce of 20 bytes; empty for an empty password.
    pub fn proof(self, password: &Password, nonce: &[u8]) -> Vec<u8> {
        if password.0.is_empty() {
            return Vec::new();
        }
        match self {
            Self::Native => {
                let once = sha1(&[&password.0]);
                let twice = sha1(&[&once]);
                xor(&once, &sha1(&[nonce, &twice]))
            }
            Self::CachingSha2 => {
                let once = sha256(&[&password.0]);
                let twice = sha256(&[&once]);
                xor(&once, &sha256(&[&twice, nonce]))
            }
        }
    }
}

/// The password under the server's public key: `password, 0` ⊕ nonce, RSA with OAEP of SHA1.
///
/// `None` if this is no RSA key in PEM, or too short a key.
pub fn encrypt(password: &Password, nonce: &[u8], key_pem: &[u8]) -> Option<Vec<u8>> {
    let key = rsa::RsaPublicKey::from_public_key_pem(std::str::from_utf8(key_pem).ok()?).ok()?;
    let mut clear = password.with_zero();
    for (byte, mask) in clear.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    key.encrypt(&mut OsRng, rsa::Oaep::new::<sha1::Sha1>(), &clear).ok()
}

fn sha1(parts: &[&[u8]]) -> Vec<u8> {
    hash(Context::new(&SHA1_FOR_LEGACY_USE_ONLY), parts)
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    hash(Context::new(&SHA256), parts)
}

fn hash(mut context: Context, parts: &[&[u8]]) -> Vec<u8> {
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 20] = *b"\x01\x02\x03\x04\x05\x06\x07\x08abcdefghijkl";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn proofs_are_those_of_the_plugins() {
        // Computed once with Python's hashlib from the formulas in this file's header.
        let password = Password::new("secret");
        assert_eq!(
            hex(&Plugin::Native.proof(&password, &NONCE)),
            "ae88ff7b2e71463dade214db3e3bf17f4ff7df8e"
        );
        assert_eq!(
            hex(&Plugin::CachingSha2.proof(&password, &NONCE)),
            "2e4cec53ba80238d0930c95a562f29dc8c2828798326f024ce2f2e38252276be"
        );
    }

    #[test]
    fn an_empty_password_has_an_empty_proof() {
        for plugin in [Plugin::Native, Plugin::CachingSha2] {
            assert!(plugin.proof(&Password::default(), &NONCE).is_empty());
            assert_eq!(Plugin::named(plugin.name().as_bytes()), Some(plugin));
        }
        assert_eq!(Plugin::named(b"mysql_clear_password"), None);
        assert_eq!(Plugin::named(b"mysql_old_password"), None);
    }

    #[test]
    fn what_is_encrypted_is_the_masked_password() {
        use rsa::pkcs8::{EncodePublicKey, LineEnding};
        let key = rsa::RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
        let pem = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        let sealed =
            encrypt(&Password::new("a longer password than the nonce"), &NONCE, pem.as_bytes());
        let mut clear = key.decrypt(rsa::Oaep::new::<sha1::Sha1>(), &sealed.unwrap()).unwrap();
        for (byte, mask) in clear.iter_mut().zip(NONCE.iter().cycle()) {
            *byte ^= mask;
        }
        assert_eq!(clear, b"a longer password than the nonce\0");
        assert!(encrypt(&Password::new("x"), &NONCE, b"no key").is_none());
    }
}
