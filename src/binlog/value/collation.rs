//! Collation ids → character sets.
//!
//! An id is here only if a server is known to give it to a collation: MySQL 5.0 to 9.7 and MariaDB 5.5 to
//! 11.8, whose lists do not contradict each other from MariaDB 10.0.6 on (see [`Charset::of_collation`]).
//! `tests/charset.rs` compares with `information_schema` of real servers.

use super::Charset;

impl Charset {
    /// The character set of a collation; `None` if no server is known to have it, or if it is one that
    /// an administrator of MySQL has made (see [`collation_id`](crate::binlog::table_map::collation_id)).
    ///
    /// MariaDB 5.3, 5.5 and 10.0.5 and before numbered `utf32_croatian_ci` 214 and `utf16_croatian_ci` 215,
    /// which are `utf8mb3` everywhere else and here. No log of theirs names collations, and the
    /// source does not believe these ids from such a server.
    #[inline]
    pub fn of_collation(id: u16) -> Option<Self> {
        match COMMON.get(usize::from(id)) {
            Some(charset) => *charset,
            None => Self::find(id),
        }
    }

    const fn find(id: u16) -> Option<Self> {
        Some(match id {
            32 | 64 | 1056 | 1088 => Self::Armscii8,
            11 | 65 | 1035 | 1089 => Self::Ascii,
            1 | 84 | 1025 | 1108 => Self::Big5,
            63 => Self::Binary,
            26 | 34 | 44 | 66 | 99 | 1050 | 1090 => Self::Cp1250,
            14 | 23 | 50..=52 | 1074 | 1075 => Self::Cp1251,
            57 | 67 | 1081 | 1091 => Self::Cp1256,
            29 | 58 | 59 | 1082 | 1083 => Self::Cp1257,
            4 | 80 | 1028 | 1104 => Self::Cp850,
            40 | 81 | 1064 | 1105 => Self::Cp852,
            36 | 68 | 1060 | 1092 => Self::Cp866,
            95 | 96 | 1119 | 1120 => Self::Cp932,
            3 | 69 | 1027 | 1093 => Self::Dec8,
            97 | 98 | 1121 | 1122 => Self::Eucjpms,
            19 | 85 | 1043 | 1109 => Self::Euckr,
            248..=250 => Self::Gb18030,
            24 | 86 | 1048 | 1110 => Self::Gb2312,
            28 | 87 | 1052 | 1111 => Self::Gbk,
            92 | 93 | 1116 | 1117 => Self::Geostd8,
            25 | 70 | 1049 | 1094 => Self::Greek,
            16 | 71 | 1040 | 1095 => Self::Hebrew,
            6 | 72 | 1030 | 1096 => Self::Hp8,
            37 | 73 | 1061 | 1097 => Self::Keybcs2,
            7 | 74 | 1031 | 1098 => Self::Koi8r,
            22 | 75 | 1046 | 1099 => Self::Koi8u,
            5 | 8 | 15 | 31 | 47..=49 | 94 | 1032 | 1071 => Self::Latin1,
            9 | 21 | 27 | 77 | 1033 | 1101 => Self::Latin2,
            2 => Self::Latin2Czech,
            30 | 78 | 1054 | 1102 => Self::Latin5,
            20 | 41 | 42 | 79 | 1065 | 1103 => Self::Latin7,
            38 | 43 | 1062 | 1067 => Self::Macce,
            39 | 53 | 1063 | 1077 => Self::Macroman,
            13 | 88 | 1037 | 1112 => Self::Sjis,
            10 | 82 | 1034 | 1106 => Self::Swe7,
            18 | 89 | 1042 | 1113 => Self::Tis620,
            35 | 90 | 128..=151 | 159 | 640..=642 | 1059 | 1114 | 1152 | 1174 => Self::Ucs2,
            12 | 91 | 1036 | 1115 => Self::Ujis,
            54 | 55 | 101..=124 | 672..=674 | 1078 | 1079 | 1125 | 1147 => Self::Utf16,
            56 | 62 | 1080 | 1086 => Self::Utf16le,
            60 | 61 | 160..=183 | 736..=738 | 1084 | 1085 | 1184 | 1206 => Self::Utf32,
            33 | 76 | 83 | 192..=215 | 223 | 576..=579 | 1057 | 1107 | 1216 | 1238 => Self::Utf8mb3,
            45 | 46 | 224..=247 | 608..=611 | 1069 | 1070 | 1248 | 1270 => Self::Utf8mb4,
            // MySQL's 0900 collations; MariaDB has some of them as aliases.
            255..=271 | 273..=275 | 277..=294 | 296..=298 | 300 | 303..=323 => Self::Utf8mb4,
            2048..=4095 => return uca1400(id),
            _ => return None,
        })
    }
}

/// The sets of the first ids, which nearly all columns have.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const COMMON: [Option<Charset>; 324] = {
    let (mut sets, mut id) = ([None; 324], 0);
    while id < sets.len() {
        sets[id] = Charset::find(id as u16);
        id += 1;
    }
    sets
};

/// MariaDB makes these ids of their parts: `1ccc tttt tPST`, c being the character set, t the language,
/// the rest the strength (`strings/ctype-uca1400.h`).
const fn uca1400(id: u16) -> Option<Charset> {
    Some(match id >> 8 & 7 {
        0 => Charset::Utf8mb3,
        1 => Charset::Utf8mb4,
        2 => Charset::Ucs2,
        3 => Charset::Utf16,
        4 => Charset::Utf32,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_of_every_range_are_known() {
        for (charset, ids) in [
            (Charset::Latin1, &[5, 8, 15, 31, 47, 49, 94, 1032, 1071][..]),
            (Charset::Utf8mb3, &[33, 76, 83, 192, 215, 223, 576, 579, 1057, 1238, 2048, 2247]),
            (Charset::Utf8mb4, &[45, 46, 224, 247, 255, 300, 323, 608, 611, 1270, 2304, 2503]),
            (Charset::Ucs2, &[35, 90, 128, 151, 159, 640, 642, 1174, 2560, 2759]),
            (Charset::Utf16, &[54, 55, 101, 124, 672, 674, 1147, 2816, 3015]),
            (Charset::Utf16le, &[56, 62, 1080, 1086]),
            (Charset::Utf32, &[60, 61, 160, 183, 736, 738, 1206, 3072, 3271]),
            (Charset::Gb18030, &[248, 249, 250]),
            (Charset::Binary, &[63]),
        ] {
            for id in ids {
                assert_eq!(Charset::of_collation(*id), Some(charset), "{id}");
            }
        }
    }

    #[test]
    fn an_id_that_no_server_has_is_never_guessed() {
        let none =
            [0, 17, 100, 125, 152, 216, 251, 254, 272, 324, 575, 580, 1024, 1087, 1271, 2047];
        for id in none.into_iter().chain([1272, 3328, 4095, 4096, 0x8000 | 1030, u16::MAX]) {
            assert_eq!(Charset::of_collation(id), None, "{id}");
        }
    }
}
