//! The servers' character sets of one to four bytes a character: Big5, the EUCs, Shift-JIS and the GBs.
//!
//! `encoding_rs` reads most codes as the servers do. Where it does not, [`Block`]s say what the servers
//! read: they are the comparison of all codes that two, three or (gb18030) four bytes can be with
//! `CONVERT(… USING utf8mb4)` of MySQL 9.7 and MariaDB 11.8, drawn together to rectangles. The exam in
//! `tests/charset.rs` makes the same comparison with what stands here.
//!
//! ```text
//!   bytes ──codes──┬─ in no block ──► a run of them at once to encoding_rs ──┬──► text
//!                  └─ in a block ───► its character, or the text is refused ─┘
//! ```

use std::borrow::Cow;

use encoding_rs::Encoding;

use Means::{Each, From, Nothing};

/// A character set that `encoding_rs` reads, and where the servers read it differently.
pub(super) struct MultiByte {
    encoding: &'static Encoding,
    shape: Shape,
    blocks: Blocks,
    /// For codes of three bytes, by their last two.
    blocks_after_8f: Blocks,
}

/// How long a code is.
enum Shape {
    /// Two bytes, the second one not below this.
    Pairs(u8),
    /// Two bytes, or one from 0xA1 to 0xDF.
    ShiftJis,
    /// Two bytes, or three after 0x8F.
    Euc,
    /// Two bytes, or four if the second is a digit.
    Gb18030,
}

struct Blocks {
    all: &'static [Block],
    /// The first bytes in them: bit 0 is 0x80.
    leads: u128,
}

/// A rectangle of codes.
struct Block {
    /// The first and the last first byte.
    lead: (u8, u8),
    /// The first and the last second byte.
    trail: (u8, u8),
    means: Means,
}

enum Means {
    Nothing,
    /// This character and those that follow it, row by row.
    From(u16),
    /// These, row by row.
    Each(&'static [u16]),
}

impl MultiByte {
    /// Reads text; `None` if a code means nothing.
    pub(super) fn decode(&self, bytes: &[u8]) -> Option<String> {
        // `plain..at` has been seen, and is in no block.
        let (mut text, mut plain, mut at) = (String::new(), 0, 0);
        while let Some((lead, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) {
            if lead.is_ascii() {
                at += 1;
                continue;
            }
            let length = self.shape.length(*lead, rest)?;
            if let Some(character) = self.in_block(*lead, rest) {
                text.push_str(&self.outside_blocks(bytes.get(plain..at)?)?);
                text.push(character?);
                plain = at + length;
            }
            at += length;
        }
        let rest = self.outside_blocks(bytes.get(plain..)?)?;
        if plain == 0 {
            return Some(rest.into_owned());
        }
        text.push_str(&rest);
        Some(text)
    }

    fn outside_blocks<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        self.encoding.decode_without_bom_handling_and_without_replacement(bytes)
    }

    /// What the code at the front means, if it is in a block.
    fn in_block(&self, lead: u8, rest: &[u8]) -> Option<Option<char>> {
        match (&self.shape, lead, rest) {
            (Shape::Euc, 0x8F, [lead, trail, ..]) => self.blocks_after_8f.find(*lead, *trail),
            (_, lead, [trail, ..]) => self.blocks.find(lead, *trail),
            _ => None,
        }
    }
}

impl Shape {
    /// Bytes of the code that begins with this byte above ASCII; `None` if none does.
    fn length(&self, lead: u8, rest: &[u8]) -> Option<usize> {
        match (self, lead, rest) {
            (_, 0x80 | 0xFF, _) | (_, _, []) if !self.is_single(lead) => None,
            (Self::ShiftJis, ..) if self.is_single(lead) => Some(1),
            (Self::Euc, 0x8F, _) => Some(3),
            (Self::Gb18030, _, [b'0'..=b'9', ..]) => Some(4),
            (Self::Pairs(lowest), _, [trail, ..]) if trail < lowest => None,
            _ => Some(2),
        }
    }

    fn is_single(&self, lead: u8) -> bool {
        matches!((self, lead), (Self::ShiftJis, 0xA1..=0xDF))
    }
}

impl Blocks {
    const NONE: Self = Self::of(&[]);

    const fn of(all: &'static [Block]) -> Self {
        let (mut leads, mut index) = (0, 0);
        while index < all.len() {
            let (mut lead, last) = all[index].lead;
            while lead <= last {
                leads |= 1 << (lead - 0x80);
                lead += 1;
            }
            index += 1;
        }
        Self { all, leads }
    }

    fn find(&self, lead: u8, trail: u8) -> Option<Option<char>> {
        if self.leads >> (lead & 0x7F) & 1 == 0 {
            return None;
        }
        let block = self.all.iter().find(|block| block.holds(lead, trail))?;
        Some(block.character(lead, trail))
    }
}

impl Block {
    fn holds(&self, lead: u8, trail: u8) -> bool {
        (self.lead.0..=self.lead.1).contains(&lead)
            && (self.trail.0..=self.trail.1).contains(&trail)
    }

    fn character(&self, lead: u8, trail: u8) -> Option<char> {
        let (row, column) = (lead.checked_sub(self.lead.0)?, trail.checked_sub(self.trail.0)?);
        let width = u16::from(self.trail.1 - self.trail.0) + 1;
        let place = u16::from(row) * width + u16::from(column);
        let code = match self.means {
            Nothing => return None,
            From(first) => first.checked_add(place)?,
            Each(codes) => *codes.get(usize::from(place))?,
        };
        char::from_u32(code.into())
    }
}

/// A block over several rows.
const fn rows(lead: (u8, u8), trail: (u8, u8), means: Means) -> Block {
    Block { lead, trail, means }
}

/// A block in one row.
const fn row(lead: u8, trail: (u8, u8), means: Means) -> Block {
    rows((lead, lead), trail, means)
}

/// A block of one code.
const fn one(code: u16, means: Means) -> Block {
    let [lead, trail] = code.to_be_bytes();
    row(lead, (trail, trail), means)
}

/// Without what came after Big5 of 1984 except ETEN's kana, Cyrillic and circled numbers.
pub(super) static BIG5: MultiByte = MultiByte {
    encoding: encoding_rs::BIG5,
    shape: Shape::Pairs(0x40),
    blocks: Blocks::of(&[
        rows((0x81, 0xA0), (0x40, 0xFE), Nothing),
        one(0xA145, From(0x2022)),
        one(0xA14E, From(0xFF64)),
        one(0xA15A, Nothing),
        one(0xA1C2, From(0x203E)),
        one(0xA1C3, Nothing),
        one(0xA1C5, Nothing),
        one(0xA1E3, From(0x223C)),
        one(0xA1F2, From(0x2641)),
        one(0xA1F3, From(0x2609)),
        one(0xA1FE, Nothing),
        one(0xA240, Nothing),
        one(0xA241, From(0xFF0F)),
        one(0xA242, From(0xFF3C)),
        one(0xA244, From(0xA5)),
        row(0xA2, (0x46, 0x47), From(0xA2)),
        one(0xA2CC, Nothing),
        one(0xA2CE, Nothing),
        row(0xA3, (0xC0, 0xFE), Nothing),
        one(0xC6A1, From(0x30FE)),
        row(0xC6, (0xA2, 0xA3), From(0x309D)),
        one(0xC6A4, From(0x3005)),
        row(0xC6, (0xA5, 0xF7), From(0x3041)),
        row(0xC6, (0xF8, 0xFE), From(0x30A1)),
        row(0xC7, (0x40, 0x7E), From(0x30A8)),
        row(0xC7, (0xA1, 0xB0), From(0x30E7)),
        row(0xC7, (0xB1, 0xB2), From(0x414)),
        one(0xC7B3, From(0x401)),
        row(0xC7, (0xB4, 0xBA), From(0x416)),
        row(0xC7, (0xBB, 0xCD), From(0x423)),
        one(0xC7CE, From(0x451)),
        row(0xC7, (0xCF, 0xE8), From(0x436)),
        row(0xC7, (0xE9, 0xF2), From(0x2460)),
        row(0xC7, (0xF3, 0xFC), From(0x2474)),
        row(0xC7, (0xFD, 0xFE), Nothing),
        row(0xC8, (0x40, 0xFE), Nothing),
        row(0xF9, (0xDD, 0xFE), Nothing),
        rows((0xFA, 0xFE), (0x40, 0xFE), Nothing),
    ]),
    blocks_after_8f: Blocks::NONE,
};

pub(super) static CP932: MultiByte = MultiByte {
    encoding: encoding_rs::SHIFT_JIS,
    shape: Shape::ShiftJis,
    blocks: Blocks::NONE,
    blocks_after_8f: Blocks::NONE,
};

/// JIS X 0208 alone, with JIS's signs where Microsoft has fullwidth ones.
pub(super) static SJIS: MultiByte = MultiByte {
    encoding: encoding_rs::SHIFT_JIS,
    shape: Shape::ShiftJis,
    blocks: Blocks::of(&[
        one(0x815F, From(0x5C)),
        one(0x8160, From(0x301C)),
        one(0x8161, From(0x2016)),
        one(0x817C, From(0x2212)),
        row(0x81, (0x91, 0x92), From(0xA2)),
        one(0x81CA, From(0xAC)),
        row(0x87, (0x40, 0xFE), Nothing),
        rows((0xED, 0xEE), (0x40, 0xFE), Nothing),
        rows((0xF0, 0xFC), (0x40, 0xFE), Nothing),
    ]),
    blocks_after_8f: Blocks::NONE,
};

/// JIS's signs, no NEC row, and private use in the free rows of both planes.
pub(super) static UJIS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    shape: Shape::Euc,
    blocks: Blocks::of(&[
        one(0xA1C0, From(0x5C)),
        one(0xA1C1, From(0x301C)),
        one(0xA1C2, From(0x2016)),
        one(0xA1DD, From(0x2212)),
        row(0xA1, (0xF1, 0xF2), From(0xA2)),
        one(0xA2CC, From(0xAC)),
        row(0xAD, (0xA1, 0xFE), Nothing),
        rows((0xF5, 0xFE), (0xA1, 0xFE), From(0xE000)),
    ]),
    blocks_after_8f: Blocks::of(&[
        one(0xA2B7, From(0x7E)),
        rows((0xF5, 0xFE), (0xA1, 0xFE), From(0xE3AC)),
    ]),
};

/// Microsoft's signs, IBM's extensions in the second plane, and private use in the rest of both.
pub(super) static EUCJPMS: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_JP,
    shape: Shape::Euc,
    blocks: Blocks::of(&[rows((0xF5, 0xFE), (0xA1, 0xFE), From(0xE000))]),
    blocks_after_8f: Blocks::of(&[
        one(0xA2C3, From(0xFFE4)),
        row(0xF3, (0xF3, 0xFC), From(0x2170)),
        row(0xF3, (0xFD, 0xFE), From(0x2160)),
        row(0xF4, (0xA1, 0xFE), Each(&IBM_AFTER_8FF4)),
        rows((0xF5, 0xFE), (0xA1, 0xFE), From(0xE3AC)),
    ]),
};

const IBM_AFTER_8FF4: [u16; 94] = [
    0x2162, 0x2163, 0x2164, 0x2165, 0x2166, 0x2167, 0x2168, 0x2169, 0xFF07, 0xFF02, 0x3231, 0x2116,
    0x2121, 0x70BB, 0x4EFC, 0x50F4, 0x51EC, 0x5307, 0x5324, 0xFA0E, 0x548A, 0x5759, 0xFA0F, 0xFA10,
    0x589E, 0x5BEC, 0x5CF5, 0x5D53, 0xFA11, 0x5FB7, 0x6085, 0x6120, 0x654E, 0x663B, 0x6665, 0xFA12,
    0xF929, 0x6801, 0xFA13, 0xFA14, 0x6A6B, 0x6AE2, 0x6DF8, 0x6DF2, 0x7028, 0xFA15, 0xFA16, 0x7501,
    0x7682, 0x769E, 0xFA17, 0x7930, 0xFA18, 0xFA19, 0xFA1A, 0xFA1B, 0x7AE7, 0xFA1C, 0xFA1D, 0x7DA0,
    0x7DD6, 0xFA1E, 0x8362, 0xFA1F, 0x85B0, 0xFA20, 0xFA21, 0x8807, 0xFA22, 0x8B7F, 0x8CF4, 0x8D76,
    0xFA23, 0xFA24, 0xFA25, 0x90DE, 0xFA26, 0x9115, 0xFA27, 0xFA28, 0x9592, 0xF9DC, 0xFA29, 0x973B,
    0x974D, 0x9751, 0xFA2A, 0xFA2B, 0xFA2C, 0x999E, 0x9AD9, 0x9B72, 0xFA2D, 0x9ED1,
];

pub(super) static EUCKR: MultiByte = MultiByte {
    encoding: encoding_rs::EUC_KR,
    shape: Shape::Pairs(0x40),
    blocks: Blocks::NONE,
    blocks_after_8f: Blocks::NONE,
};

/// GB 2312 of 1980: nothing that GBK added.
pub(super) static GB2312: MultiByte = MultiByte {
    encoding: encoding_rs::GBK,
    shape: Shape::Pairs(0xA1),
    blocks: Blocks::of(&[
        rows((0x81, 0xA0), (0xA1, 0xFE), Nothing),
        one(0xA1A4, From(0x30FB)),
        one(0xA1AA, From(0x2015)),
        row(0xA2, (0xA1, 0xB0), Nothing),
        row(0xA2, (0xE3, 0xE4), Nothing),
        row(0xA2, (0xEF, 0xF0), Nothing),
        row(0xA2, (0xFD, 0xFE), Nothing),
        row(0xA4, (0xF4, 0xFE), Nothing),
        row(0xA5, (0xF7, 0xFE), Nothing),
        row(0xA6, (0xB9, 0xC0), Nothing),
        row(0xA6, (0xD9, 0xFE), Nothing),
        row(0xA7, (0xC2, 0xD0), Nothing),
        row(0xA7, (0xF2, 0xFE), Nothing),
        row(0xA8, (0xBB, 0xC4), Nothing),
        row(0xA8, (0xEA, 0xFE), Nothing),
        row(0xA9, (0xA1, 0xA3), Nothing),
        row(0xA9, (0xF0, 0xFE), Nothing),
        rows((0xAA, 0xAF), (0xA1, 0xFE), Nothing),
        row(0xD7, (0xFA, 0xFE), Nothing),
        rows((0xF8, 0xFE), (0xA1, 0xFE), Nothing),
    ]),
    blocks_after_8f: Blocks::NONE,
};

/// Microsoft's code page 936 without its private use and without what GB 18030 added.
pub(super) static GBK: MultiByte = MultiByte {
    encoding: encoding_rs::GBK,
    shape: Shape::Pairs(0x40),
    blocks: Blocks::of(&[
        rows((0xA1, 0xA7), (0x40, 0xA0), Nothing),
        row(0xA2, (0xAB, 0xB0), Nothing),
        row(0xA2, (0xE3, 0xE4), Nothing),
        row(0xA2, (0xEF, 0xF0), Nothing),
        row(0xA2, (0xFD, 0xFE), Nothing),
        row(0xA4, (0xF4, 0xFE), Nothing),
        row(0xA5, (0xF7, 0xFE), Nothing),
        row(0xA6, (0xB9, 0xC0), Nothing),
        row(0xA6, (0xD9, 0xDF), Nothing),
        row(0xA6, (0xEC, 0xED), Nothing),
        one(0xA6F3, Nothing),
        row(0xA6, (0xF6, 0xFE), Nothing),
        row(0xA7, (0xC2, 0xD0), Nothing),
        row(0xA7, (0xF2, 0xFE), Nothing),
        row(0xA8, (0x96, 0xA0), Nothing),
        one(0xA8BC, Nothing),
        one(0xA8BF, Nothing),
        row(0xA8, (0xC1, 0xC4), Nothing),
        row(0xA8, (0xEA, 0xFE), Nothing),
        one(0xA958, Nothing),
        one(0xA95B, Nothing),
        row(0xA9, (0x5D, 0x5F), Nothing),
        row(0xA9, (0x89, 0x95), Nothing),
        row(0xA9, (0x97, 0xA3), Nothing),
        row(0xA9, (0xF0, 0xFE), Nothing),
        rows((0xAA, 0xAF), (0xA1, 0xFE), Nothing),
        row(0xD7, (0xFA, 0xFE), Nothing),
        rows((0xF8, 0xFD), (0xA1, 0xFE), Nothing),
        row(0xFE, (0x50, 0xFE), Nothing),
    ]),
    blocks_after_8f: Blocks::NONE,
};

/// GB 18030 of 2005, with private use where later editions have assigned characters.
pub(super) static GB18030: MultiByte = MultiByte {
    encoding: encoding_rs::GB18030,
    shape: Shape::Gb18030,
    blocks: Blocks::of(&[
        one(0xA3A0, From(0xE5E5)),
        row(0xA6, (0xD9, 0xDF), From(0xE78D)),
        row(0xA6, (0xEC, 0xED), From(0xE794)),
        one(0xA6F3, From(0xE796)),
        one(0xFE59, From(0xE81E)),
        one(0xFE61, From(0xE826)),
        row(0xFE, (0x66, 0x67), From(0xE82B)),
        one(0xFE6D, From(0xE832)),
        one(0xFE7E, From(0xE843)),
        one(0xFE90, From(0xE854)),
        one(0xFEA0, From(0xE864)),
    ]),
    blocks_after_8f: Blocks::NONE,
};
