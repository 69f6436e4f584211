//! Bytes in a server's character set → UTF-8, exactly as the server itself converts them.
//!
//! Each set has one reader, and each reader is held to all codes of real servers by `tests/charset.rs`.
//! MySQL 9.7, MariaDB 10.11 and MariaDB 11.8 agree on every code, so one reader serves both families.
//!
//! | sets | reader |
//! |---|---|
//! | ascii, utf8mb3, utf8mb4 | a check; no byte is moved |
//! | ucs2, utf16, utf16le, utf32 | by rule |
//! | swe7 and all others of one byte | the servers' tables: [`single_byte`] |
//! | all others | `encoding_rs`, where it differs the servers' tables: [`multi_byte`] |
//!
//! What a set does not define is not replaced but refused: the caller gets the bytes back. That is so
//! for malformed bytes (half characters, lone surrogates, a character of four bytes in utf8mb3), for
//! well-formed codes that mean nothing, which SELECT shows as `?`, and for the sixteen codes of big5 and
//! tis620 that the servers' tables turn into U+FFFD.

use std::borrow::Cow;

use super::multi_byte::{self, MultiByte};
use super::single_byte::{self, Upper};

/// A character set, by the servers' own name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the servers', and say all")]
pub enum Charset {
    Armscii8,
    Ascii,
    Big5,
    /// Not text.
    Binary,
    Cp1250,
    Cp1251,
    Cp1256,
    Cp1257,
    Cp850,
    Cp852,
    Cp866,
    Cp932,
    Dec8,
    Eucjpms,
    Euckr,
    Gb18030,
    Gb2312,
    Gbk,
    Geostd8,
    Greek,
    Hebrew,
    Hp8,
    Keybcs2,
    Koi8r,
    Koi8u,
    /// Windows-1252, with control characters in its holes.
    Latin1,
    Latin2,
    /// latin2 in its collation latin2_czech_cs, which has a table of its own: without 0x80 to 0x9F.
    Latin2Czech,
    Latin5,
    Latin7,
    Macce,
    Macroman,
    Sjis,
    /// ASCII with Swedish letters in the place of brackets.
    Swe7,
    Tis620,
    /// Big-endian, without surrogates.
    Ucs2,
    Ujis,
    /// Big-endian.
    Utf16,
    Utf16le,
    /// Big-endian.
    Utf32,
    /// At most three bytes a character.
    Utf8mb3,
    Utf8mb4,
}

/// How a character set is read.
enum Reader {
    Binary,
    Ascii,
    Utf8mb3,
    Utf8mb4,
    Ucs2,
    Utf16(fn([u8; 2]) -> u16),
    Utf32,
    Swe7,
    SingleByte(&'static Upper),
    MultiByte(&'static MultiByte),
}

impl Charset {
    /// Reads text. What is UTF-8 as it stands (all ASCII is, in most sets) is lent, not copied.
    ///
    /// # Errors
    /// The bytes themselves, if one of them has no meaning.
    pub fn decode(self, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
        let text = match self.reader() {
            Reader::Binary => None,
            Reader::Utf8mb4 => return utf8(bytes),
            Reader::Utf8mb3 if bytes.iter().all(|byte| *byte < 0xF0) => return utf8(bytes),
            Reader::Utf8mb3 => None,
            Reader::Ascii if bytes.is_ascii() => return utf8(bytes),
            Reader::Ascii => None,
            Reader::SingleByte(_) | Reader::MultiByte(_) if bytes.is_ascii() => return utf8(bytes),
            Reader::SingleByte(upper) => single_byte::decode(upper, &bytes),
            Reader::MultiByte(set) => set.decode(&bytes),
            Reader::Swe7 => single_byte::decode_swe7(&bytes),
            Reader::Ucs2 => ucs2(&bytes),
            Reader::Utf16(word) => utf16(&bytes, word),
            Reader::Utf32 => utf32(&bytes),
        };
        text.map(Cow::Owned).ok_or(bytes)
    }

    fn reader(self) -> Reader {
        match self {
            Self::Binary => Reader::Binary,
            Self::Ascii => Reader::Ascii,
            Self::Utf8mb3 => Reader::Utf8mb3,
            Self::Utf8mb4 => Reader::Utf8mb4,
            Self::Ucs2 => Reader::Ucs2,
            Self::Utf16 => Reader::Utf16(u16::from_be_bytes),
            Self::Utf16le => Reader::Utf16(u16::from_le_bytes),
            Self::Utf32 => Reader::Utf32,
            Self::Swe7 => Reader::Swe7,
            Self::Armscii8 => Reader::SingleByte(&single_byte::ARMSCII8),
            Self::Cp1250 => Reader::SingleByte(&single_byte::CP1250),
            Self::Cp1251 => Reader::SingleByte(&single_byte::CP1251),
            Self::Cp1256 => Reader::SingleByte(&single_byte::CP1256),
            Self::Cp1257 => Reader::SingleByte(&single_byte::CP1257),
            Self::Cp850 => Reader::SingleByte(&single_byte::CP850),
            Self::Cp852 => Reader::SingleByte(&single_byte::CP852),
            Self::Cp866 => Reader::SingleByte(&single_byte::CP866),
            Self::Dec8 => Reader::SingleByte(&single_byte::DEC8),
            Self::Geostd8 => Reader::SingleByte(&single_byte::GEOSTD8),
            Self::Greek => Reader::SingleByte(&single_byte::GREEK),
            Self::Hebrew => Reader::SingleByte(&single_byte::HEBREW),
            Self::Hp8 => Reader::SingleByte(&single_byte::HP8),
            Self::Keybcs2 => Reader::SingleByte(&single_byte::KEYBCS2),
            Self::Koi8r => Reader::SingleByte(&single_byte::KOI8R),
            Self::Koi8u => Reader::SingleByte(&single_byte::KOI8U),
            Self::Latin1 => Reader::SingleByte(&single_byte::LATIN1),
            Self::Latin2 => Reader::SingleByte(&single_byte::LATIN2),
            Self::Latin2Czech => Reader::SingleByte(&single_byte::LATIN2_CZECH),
            Self::Latin5 => Reader::SingleByte(&single_byte::LATIN5),
            Self::Latin7 => Reader::SingleByte(&single_byte::LATIN7),
            Self::Macce => Reader::SingleByte(&single_byte::MACCE),
            Self::Macroman => Reader::SingleByte(&single_byte::MACROMAN),
            Self::Tis620 => Reader::SingleByte(&single_byte::TIS620),
            Self::Big5 => Reader::MultiByte(&multi_byte::BIG5),
            Self::Cp932 => Reader::MultiByte(&multi_byte::CP932),
            Self::Eucjpms => Reader::MultiByte(&multi_byte::EUCJPMS),
            Self::Euckr => Reader::MultiByte(&multi_byte::EUCKR),
            Self::Gb18030 => Reader::MultiByte(&multi_byte::GB18030),
            Self::Gb2312 => Reader::MultiByte(&multi_byte::GB2312),
            Self::Gbk => Reader::MultiByte(&multi_byte::GBK),
            Self::Sjis => Reader::MultiByte(&multi_byte::SJIS),
            Self::Ujis => Reader::MultiByte(&multi_byte::UJIS),
        }
    }
}

fn utf8(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
    match bytes {
        Cow::Borrowed(bytes) => {
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| bytes.into())
        }
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.into_bytes().into())
        }
    }
}

fn ucs2(bytes: &[u8]) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    let character = |pair: &[u8; 2]| char::from_u32(u16::from_be_bytes(*pair).into());
    gathered(bytes.len(), pairs.iter().map(character))
}

fn utf16(bytes: &[u8], word: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    let characters = char::decode_utf16(pairs.iter().map(|pair| word(*pair)));
    gathered(bytes.len(), characters.map(Result::ok))
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (quads, []) = bytes.as_chunks::<4>() else { return None };
    let character = |quad: &[u8; 4]| char::from_u32(u32::from_be_bytes(*quad));
    gathered(bytes.len() / 2, quads.iter().map(character))
}

/// Characters as text, for which so many bytes are likely enough.
pub(super) fn gathered(
    likely: usize,
    characters: impl Iterator<Item = Option<char>>,
) -> Option<String> {
    let mut text = String::with_capacity(likely);
    for character in characters {
        text.push(character?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(charset: Charset, bytes: &[u8]) -> Option<String> {
        charset.decode(Cow::Borrowed(bytes)).ok().map(Cow::into_owned)
    }

    /// Of each set a word that holds what is special in it, as the servers write it.
    const SAMPLES: [(Charset, &[u8], &str); 40] = [
        (Charset::Armscii8, b"\xB2\xB3\xFF", "Աա'"),
        (Charset::Ascii, b"a~\0", "a~\0"),
        (Charset::Big5, b"\xA4\xA4\xA1\x45\xC6\xA5", "中•ぁ"),
        (Charset::Cp1250, b"\x8A\xBE\xF8", "Šľř"),
        (Charset::Cp1251, b"\xCC\xE8\xF0\x88", "Мир€"),
        (Charset::Cp1256, b"\xD3\xE1\x81\x80", "سلپ€"),
        (Charset::Cp1257, b"\xD0\xFE", "Šž"),
        (Charset::Cp850, b"\x81\xE1\xD5", "üßı"),
        (Charset::Cp852, b"\x9F\xFD", "čř"),
        (Charset::Cp866, b"\x8C\xA8\xE0", "Мир"),
        (Charset::Cp932, b"\x82\xA0\xB1\x81\x60\x87\x40", "あｱ～①"),
        (Charset::Dec8, b"\xE9\xD7\xA8", "éŒ¤"),
        (Charset::Eucjpms, b"\xA4\xA2\x8E\xB1\xA1\xC1\x8F\xF4\xAB", "あｱ～㈱"),
        (Charset::Euckr, b"\xB0\xA1\x81\x41", "가갂"),
        (Charset::Gb18030, b"\xD6\xD0\x94\x39\xDA\x33\xA8\xBC", "中💩ḿ"),
        (Charset::Gb2312, b"\xD6\xD0\xA1\xA4\xA1\xAA", "中・―"),
        (Charset::Gbk, b"\xD6\xD0\xA1\xA4\xA1\xAA", "中·—"),
        (Charset::Geostd8, b"\xC0\x80", "ა€"),
        (Charset::Greek, b"\xC1\xE1", "Αα"),
        (Charset::Hebrew, b"\xF9\xEC", "של"),
        (Charset::Hp8, b"\xC5\xDE", "éß"),
        (Charset::Keybcs2, b"\x87\xA9", "čř"),
        (Charset::Koi8r, b"\xED\xC9\xD2", "Мир"),
        (Charset::Koi8u, b"\xED\xA6\xD2", "Мір"),
        (Charset::Latin1, b"a\x80\x81\x9D\xE9", "a€\u{81}\u{9d}é"),
        (Charset::Latin2, b"\xA9\xF8", "Šř"),
        (Charset::Latin5, b"\xFD\xF0", "ığ"),
        (Charset::Latin7, b"\xD0\xFE", "Šž"),
        (Charset::Macce, b"\x8B\xDE", "čř"),
        (Charset::Macroman, b"\x8E\xDB", "é€"),
        (Charset::Sjis, b"\x82\xA0\xB1\x81\x60\x81\x5F\\", "あｱ〜\\\\"),
        (Charset::Swe7, b"r{ksm|rg}s", "räksmörgås"),
        (Charset::Tis620, b"\xA1\xD2", "กา"),
        (Charset::Ucs2, b"\x30\x42", "あ"),
        (Charset::Ujis, b"\xA4\xA2\x8E\xB1\xA1\xC1\xF5\xA1\x8F\xFE\xFE", "あｱ〜\u{e000}\u{e757}"),
        (Charset::Utf16, b"\xD8\x3D\xDE\x00", "😀"),
        (Charset::Utf16le, b"\x3D\xD8\x00\xDE", "😀"),
        (Charset::Utf32, b"\x00\x01\xF6\x00", "😀"),
        (Charset::Utf8mb3, b"\xE3\x81\x82", "あ"),
        (Charset::Utf8mb4, b"\xF0\x9F\x98\x80", "😀"),
    ];

    #[test]
    fn every_set_reads_its_own_letters() {
        for (charset, bytes, text) in SAMPLES {
            assert_eq!(read(charset, bytes).as_deref(), Some(text), "{charset:?}");
        }
    }

    #[test]
    fn what_a_set_does_not_define_is_refused_not_replaced() {
        let refused: [(Charset, &[u8]); 27] = [
            (Charset::Ascii, b"a\x80"),
            (Charset::Big5, b"\xA1\x5A"),
            (Charset::Big5, b"\xF9\xDD"),
            (Charset::Binary, b"a"),
            (Charset::Cp1250, b"\x81"),
            (Charset::Cp932, b"\x80"),
            (Charset::Eucjpms, b"\x8F\xA2\xA1"),
            (Charset::Euckr, b"\xB0"),
            (Charset::Gb18030, b"\x80"),
            (Charset::Gb18030, b"\xE3\x32\x9A\x36"),
            (Charset::Gb2312, b"\x81\x40"),
            (Charset::Gb2312, b"\xA6\xE0"),
            (Charset::Gbk, b"\x80"),
            (Charset::Gbk, b"\xA8\xBC"),
            (Charset::Gbk, b"\x81\x30\x81\x30"),
            (Charset::Sjis, b"\x87\x40"),
            (Charset::Swe7, b"\x80"),
            (Charset::Tis620, b"\xFF"),
            (Charset::Ujis, b"\xAD\xA1"),
            (Charset::Ucs2, b"\xD8\x3D\xDE\x00"),
            (Charset::Utf16, b"\xD8\x00"),
            (Charset::Utf16, b"\x00"),
            (Charset::Utf16le, b"\x00\xDE\x3D\xD8"),
            (Charset::Utf32, b"\x00\x11\x00\x00"),
            (Charset::Utf32, b"\x00\x00\x41"),
            (Charset::Utf8mb3, b"\xF0\x9F\x98\x80"),
            (Charset::Utf8mb4, b"\xED\xA0\x80"),
        ];
        for (charset, bytes) in refused {
            assert_eq!(read(charset, bytes), None, "{charset:?} {bytes:x?}");
        }
    }

    #[test]
    fn half_a_character_is_refused_in_every_set() {
        for (charset, bytes, text) in SAMPLES {
            for length in 0..bytes.len() {
                let cut = read(charset, &bytes[..length]);
                assert!(cut.is_none_or(|cut| text.starts_with(&cut)), "{charset:?} {length}");
            }
        }
    }

    #[test]
    fn ascii_is_lent_by_every_set_that_has_it_as_it_is() {
        for (charset, ..) in SAMPLES {
            let text = charset.decode(Cow::Borrowed(b"plain 123"));
            let wide = [Charset::Ucs2, Charset::Utf16, Charset::Utf16le, Charset::Utf32];
            if charset != Charset::Swe7 && !wide.contains(&charset) {
                assert!(matches!(text, Ok(Cow::Borrowed("plain 123"))), "{charset:?}");
            }
        }
        let text = Charset::Utf8mb4.decode(Cow::Borrowed("é😀".as_bytes()));
        assert!(matches!(text, Ok(Cow::Borrowed("é😀"))));
        let text = Charset::Utf8mb3.decode(Cow::Borrowed("é".as_bytes()));
        assert!(matches!(text, Ok(Cow::Borrowed("é"))));
    }

    #[test]
    fn no_two_bytes_panic_and_none_make_more_than_two_characters() {
        for (charset, ..) in SAMPLES {
            for code in 0..=u16::MAX {
                let text = read(charset, &code.to_be_bytes()).unwrap_or_default();
                assert!(text.chars().count() <= 2, "{charset:?} {code:04x}");
            }
        }
    }
}
