//! Collation → character set → UTF-8.
//!
//! The ranges are what `information_schema.collations` of MySQL 9.7 and MariaDB 11.8 say. Single-byte sets
//! are decoded by the servers' own tables, those of more bytes by `encoding_rs` with the differences that a
//! comparison of all sequences with both servers has shown: a few characters are exchanged, and ranges that mean
//! something else there are refused. (Only in gb18030 19 codes differ that the servers leave in the private use
//! area and later editions of the standard have assigned.) What a set does not define is not replaced but
//! refused: the caller gets the bytes back.

use std::borrow::Cow;

use super::single_byte::{self, Upper};

/// A character set of the servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// Not text.
    Binary,
    /// `ascii`: below 0x80 alone.
    Ascii,
    /// `utf8mb3`, `utf8mb4`.
    Utf8,
    /// `utf16`, big-endian, and `ucs2`, which is the same without surrogates.
    Utf16,
    /// `utf16le`.
    Utf16Le,
    /// `utf32`, big-endian.
    Utf32,
    /// ASCII and 128 more.
    SingleByte(&'static Upper),
    /// `swe7`: ASCII with Swedish letters in the place of brackets.
    Swe7,
    /// More than one byte a character.
    MultiByte(&'static MultiByte),
}

impl Charset {
    /// The character set of a collation; `None` if it is not known or has no decoder here.
    pub fn of_collation(id: u16) -> Option<Self> {
        // MariaDB's NOPAD twins (from 1025 on) are their originals plus 1024.
        let id = if (1025..2048).contains(&id) { id - 1024 } else { id };
        Some(match id {
            63 => Self::Binary,
            11 | 65 => Self::Ascii,
            33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 | 576..=579 | 608..=611 => {
                Self::Utf8
            }
            2048..=2559 => Self::Utf8,
            35 | 54 | 55 | 90 | 101..=124 | 128..=151 | 159 | 640..=642 | 672..=674 => Self::Utf16,
            2560..=3071 => Self::Utf16,
            56 | 62 => Self::Utf16Le,
            60 | 61 | 160..=183 | 736..=738 | 3072..=3583 => Self::Utf32,
            10 | 82 => Self::Swe7,
            1 | 84 => Self::MultiByte(&BIG5),
            12 | 91 => Self::MultiByte(&UJIS),
            97 | 98 => Self::MultiByte(&EUCJPMS),
            13 | 88 => Self::MultiByte(&SJIS),
            95 | 96 => Self::MultiByte(&CP932),
            19 | 85 => Self::MultiByte(&EUCKR),
            24 | 86 => Self::MultiByte(&GB2312),
            28 | 87 => Self::MultiByte(&GBK),
            248..=250 => Self::MultiByte(&GB18030),
            _ => Self::SingleByte(single_byte_of_collation(id)?),
        })
    }

    /// Reads text.
    ///
    /// # Errors
    /// The bytes themselves, if one of them has no meaning.
    pub fn decode(self, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
        match self {
            Self::Binary => Err(bytes),
            Self::Utf8 => utf8(bytes),
            Self::Ascii if bytes.is_ascii() => utf8(bytes),
            Self::Ascii => Err(bytes),
            Self::SingleByte(_) | Self::MultiByte(_) if bytes.is_ascii() => utf8(bytes),
            Self::SingleByte(upper) => {
                let text = bytes.iter().map(|byte| single(*byte, upper)).collect();
                own(text, bytes)
            }
            Self::Swe7 => own(bytes.iter().map(|byte| swe7(*byte)).collect(), bytes),
            Self::Utf16 => own(utf16(&bytes, u16::from_be_bytes), bytes),
            Self::Utf16Le => own(utf16(&bytes, u16::from_le_bytes), bytes),
            Self::Utf32 => own(utf32(&bytes), bytes),
            Self::MultiByte(set) => own(set.decode(&bytes), bytes),
        }
    }
}

/// A character set that `encoding_rs` reads, and where the servers read it differently.
#[derive(Debug, Eq, PartialEq)]
pub struct MultiByte {
    encoding: &'static encoding_rs::Encoding,
    /// What `encoding_rs` says, and what the servers say.
    exchanged: &'static [(char, char)],
    /// First and last code, of two or three bytes, that the servers read as something else.
    refused: &'static [(u32, u32)],
}

const fn as_is(encoding: &'static encoding_rs::Encoding) -> MultiByte {
    MultiByte { encoding, exchanged: &[], refused: &[] }
}

static CP932: MultiByte = as_is(encoding_rs::SHIFT_JIS);
static EUCKR: MultiByte = as_is(encoding_rs::EUC_KR);
static GBK: MultiByte = as_is(encoding_rs::GBK);
static GB18030: MultiByte = as_is(encoding_rs::GB18030);
static GB2312: MultiByte =
    MultiByte { exchanged: &[('·', '・'), ('—', '―')], ..as_is(encoding_rs::GBK) };
static SJIS: MultiByte =
    MultiByte { exchanged: JIS_NOT_MICROSOFT, ..as_is(encoding_rs::SHIFT_JIS) };
static UJIS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    exchanged: JIS_NOT_MICROSOFT,
    refused: &[(0xF5A1, 0xFEFE), (0x8F_A2B7, 0x8F_A2B7), (0x8F_F3F3, 0x8F_FEFE)],
};
static EUCJPMS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    exchanged: &[],
    refused: &[(0xF5A1, 0xFEFE), (0x8F_A2C3, 0x8F_A2C3)],
};
static BIG5: MultiByte = MultiByte {
    encoding: encoding_rs::BIG5,
    exchanged: &[
        ('‧', '•'),
        ('﹑', '､'),
        ('¯', '‾'),
        ('～', '∼'),
        ('⊕', '♁'),
        ('⊙', '☉'),
        ('∕', '／'),
        ('﹨', '＼'),
        ('￥', '¥'),
        ('￠', '¢'),
        ('￡', '£'),
    ],
    refused: &[(0xC6A1, 0xC8FE)],
};

/// The servers' `sjis` and `ujis` follow JIS where `encoding_rs` follows Microsoft.
const JIS_NOT_MICROSOFT: &[(char, char)] =
    &[('＼', '\\'), ('～', '〜'), ('∥', '‖'), ('－', '−'), ('￠', '¢'), ('￡', '£'), ('￢', '¬')];

impl MultiByte {
    fn decode(&self, bytes: &[u8]) -> Option<String> {
        if !self.refused.is_empty() && self.codes(bytes).any(|code| self.refuses(code)) {
            return None;
        }
        let text = self.encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
        if self.exchanged.is_empty() {
            return Some(text.into_owned());
        }
        let exchange =
            |c: char| self.exchanged.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to);
        Some(text.chars().map(exchange).collect())
    }

    fn refuses(&self, code: u32) -> bool {
        self.refused.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }

    /// The codes of more than one byte; for EUC and Big5, which are all that refuse something.
    fn codes<'a>(&self, mut bytes: &'a [u8]) -> impl Iterator<Item = u32> + use<'a> {
        let is_euc = self.encoding == encoding_rs::EUC_JP;
        std::iter::from_fn(move || {
            let length = match bytes.first()? {
                0..0x80 => 1,
                0x8F if is_euc => 3,
                _ => 2,
            };
            let (code, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            Some(code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
        })
    }
}

fn single_byte_of_collation(id: u16) -> Option<&'static Upper> {
    Some(match id {
        5 | 8 | 15 | 31 | 47..=49 | 94 => &single_byte::LATIN1,
        2 | 9 | 21 | 27 | 77 => &single_byte::LATIN2,
        3 | 69 => &single_byte::DEC8,
        4 | 80 => &single_byte::CP850,
        6 | 72 => &single_byte::HP8,
        7 | 74 => &single_byte::KOI8R,
        14 | 23 | 50..=52 => &single_byte::CP1251,
        16 | 71 => &single_byte::HEBREW,
        18 | 89 => &single_byte::TIS620,
        20 | 41 | 42 | 79 => &single_byte::LATIN7,
        22 | 75 => &single_byte::KOI8U,
        25 | 70 => &single_byte::GREEK,
        26 | 34 | 44 | 66 | 99 => &single_byte::CP1250,
        29 | 58 | 59 => &single_byte::CP1257,
        30 | 78 => &single_byte::LATIN5,
        32 | 64 => &single_byte::ARMSCII8,
        36 | 68 => &single_byte::CP866,
        37 | 73 => &single_byte::KEYBCS2,
        38 | 43 => &single_byte::MACCE,
        39 | 53 => &single_byte::MACROMAN,
        40 | 81 => &single_byte::CP852,
        57 | 67 => &single_byte::CP1256,
        92 | 93 => &single_byte::GEOSTD8,
        _ => return None,
    })
}

fn own(text: Option<String>, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
    text.map(Cow::Owned).ok_or(bytes)
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

fn single(byte: u8, upper: &Upper) -> Option<char> {
    match byte.checked_sub(0x80) {
        None => Some(char::from(byte)),
        Some(place) => {
            let code = upper.get(usize::from(place)).copied().filter(|code| *code != 0)?;
            char::from_u32(u32::from(code))
        }
    }
}

fn swe7(byte: u8) -> Option<char> {
    Some(match byte {
        b'@' => 'É',
        b'[' => 'Ä',
        b'\\' => 'Ö',
        b']' => 'Å',
        b'^' => 'Ü',
        b'`' => 'é',
        b'{' => 'ä',
        b'|' => 'ö',
        b'}' => 'å',
        b'~' => 'ü',
        0x7F.. => return None,
        _ => char::from(byte),
    })
}

fn utf16(bytes: &[u8], word: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(pairs.iter().map(|pair| word(*pair))).collect::<Result<_, _>>().ok()
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (quads, []) = bytes.as_chunks::<4>() else { return None };
    quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(collation: u16, bytes: &[u8]) -> Option<String> {
        let charset = Charset::of_collation(collation)?;
        charset.decode(Cow::Borrowed(bytes)).ok().map(Cow::into_owned)
    }

    #[test]
    fn latin1_is_cp1252_with_the_controls_in_its_holes() {
        let text = read(8, &[b'a', 0x80, 0x81, 0x9D, 0xE9]).unwrap();
        assert_eq!(text, "a€\u{81}\u{9d}é");
    }

    #[test]
    fn what_a_set_does_not_define_is_refused_not_replaced() {
        assert_eq!(read(11, b"a\x80"), None);
        assert_eq!(read(255, b"a\xff"), None);
        assert_eq!(read(255, b"\xed\xa0\x80"), None, "a surrogate");
        assert_eq!(read(54, &[0xD8, 0x00]), None, "half a pair");
        assert_eq!(read(54, &[0]), None);
        assert_eq!(read(18, &[0xFF]), None);
        assert_eq!(read(28, &[0x81]), None, "half a character");
        assert_eq!(read(63, b"a"), None);
        assert_eq!(read(999, b"a"), None);
    }

    #[test]
    fn wide_and_multibyte_sets_read_as_the_servers_do() {
        assert_eq!(read(35, &[0x30, 0x42]).unwrap(), "あ");
        assert_eq!(read(54, &[0xD8, 0x3D, 0xDE, 0x00]).unwrap(), "😀");
        assert_eq!(read(56, &[0x3D, 0xD8, 0x00, 0xDE]).unwrap(), "😀");
        assert_eq!(read(60, &[0, 1, 0xF6, 0]).unwrap(), "😀");
        assert_eq!(read(28, &[0xD6, 0xD0]).unwrap(), "中");
        assert_eq!(read(13, &[0x82, 0xA0]).unwrap(), "あ");
        assert_eq!(read(19, &[0xB0, 0xA1]).unwrap(), "가");
        assert_eq!(read(13, &[0x81, 0x60]).unwrap(), "\u{301c}", "sjis");
        assert_eq!(read(95, &[0x81, 0x60]).unwrap(), "\u{ff5e}", "cp932");
        assert_eq!(read(1, &[0xC6, 0xA1]), None, "another character in the servers' Big5");
        assert_eq!(read(10, b"r{ksm|rg}s").unwrap(), "räksmörgås");
    }

    #[test]
    fn the_ranges_of_both_servers_are_known() {
        for id in [33, 45, 46, 83, 192, 223, 224, 255, 323, 576, 608, 1057, 1270, 2048, 2304, 2503]
        {
            assert_eq!(Charset::of_collation(id), Some(Charset::Utf8), "{id}");
        }
        assert_eq!(Charset::of_collation(1032), Charset::of_collation(8));
        assert_eq!(Charset::of_collation(0), None);
    }
}
