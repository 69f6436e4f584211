//! Random columns: every type with its parameters, every character set and collation of the server.

use super::chance::Chance;
use super::column::{Column, Kind};
use crate::harness::server::{Flavour, Server};

/// A character set and its collations.
pub struct Charset {
    pub name: String,
    pub collations: Vec<String>,
}

/// What a server has.
pub struct Types {
    pub flavour: Flavour,
    pub charsets: Vec<Charset>,
}

impl Types {
    pub fn of(server: &Server) -> Self {
        let name = if server.flavour.is_mysql() { "collation_name" } else { "full_collation_name" };
        let rows = server.sql(&format!(
            "select character_set_name, {name} from \
             information_schema.collation_character_set_applicability \
             where character_set_name <> 'binary' order by 1,2"
        ));
        let mut charsets: Vec<Charset> = Vec::new();
        for row in rows {
            match charsets.last_mut().filter(|last| last.name == row[0]) {
                Some(last) => last.collations.push(row[1].clone()),
                None => {
                    let collations = vec![row[1].clone()];
                    charsets.push(Charset { name: row[0].clone(), collations });
                }
            }
        }
        Self { flavour: server.flavour, charsets }
    }

    /// A column of this name.
    pub fn column(&self, name: String, chance: &mut Chance) -> Column {
        let (kind, mut definition) = self.kind(chance);
        let nullable = chance.percent(70);
        definition += if nullable { " null" } else { " not null" };
        let plain = matches!(kind, Kind::Int { .. } | Kind::Decimal { .. } | Kind::Year);
        if plain && (nullable || chance.percent(30)) && chance.percent(20) {
            definition += if chance.percent(90) { " default 5" } else { " default 5 invisible" };
        }
        Column { name, kind, definition, nullable, generated: false }
    }

    fn kind(&self, chance: &mut Chance) -> (Kind, String) {
        match chance.below(40) {
            0..=5 => integer(chance),
            6 | 7 => decimal(chance),
            8 => {
                let unsigned = chance.percent(20);
                let name = *chance.of(&["float", "float", "float(9,3)"]);
                (Kind::Float { unsigned }, name.to_owned() + sign(unsigned))
            }
            9 => {
                let unsigned = chance.percent(20);
                let name = *chance.of(&["double", "double", "double(14,4)"]);
                (Kind::Double { unsigned }, name.to_owned() + sign(unsigned))
            }
            10 => {
                let any = chance.between(1, 64) as u32;
                let bits = *chance.of(&[1, 8, 9, 64, any]);
                (Kind::Bit(bits), format!("bit({bits})"))
            }
            11 => (Kind::Year, "year".to_owned()),
            12 => (Kind::Date, "date".to_owned()),
            13 | 14 => temporal("time", Kind::Time, chance),
            15 | 16 => temporal("datetime", Kind::DateTime, chance),
            17 | 18 => temporal("timestamp", Kind::Timestamp, chance),
            19..=25 => self.text(chance),
            26..=28 => self.bytes(chance),
            29 => self.members(chance, 300, true),
            30 => self.members(chance, 64, false),
            31..=33 if self.flavour.is_mysql() => (Kind::Json, "json".to_owned()),
            31 | 32 => (Kind::JsonText, "json".to_owned()),
            34 | 35 => geometry(chance),
            36 if self.flavour.is_mysql() => {
                let size = 1 + chance.length(60);
                (Kind::Vector(size), format!("vector({size})"))
            }
            36 if self.flavour == Flavour::Mariadb118 => {
                let size = 1 + chance.length(60);
                (Kind::VectorBytes(size), format!("vector({size})"))
            }
            37 | 38 if !self.flavour.is_mysql() => {
                let (kind, name) = chance
                    .of(&[(Kind::Uuid, "uuid"), (Kind::Inet4, "inet4"), (Kind::Inet6, "inet6")])
                    .clone();
                (kind, name.to_owned())
            }
            39 if !self.flavour.is_mysql() => self.compressed(chance),
            _ => self.text(chance),
        }
    }

    fn charset(&self, chance: &mut Chance) -> (String, String) {
        let charset = if chance.percent(35) {
            self.charsets.iter().find(|charset| charset.name == "utf8mb4")
        } else {
            None
        };
        let charset = charset.unwrap_or_else(|| chance.of(&self.charsets));
        let collation = chance.of(&charset.collations);
        (charset.name.clone(), format!(" character set {} collate {collation}", charset.name))
    }

    fn text(&self, chance: &mut Chance) -> (Kind, String) {
        let (charset, clause) = self.charset(chance);
        let short = *chance.of(&[1, 2, 10, 30, 60, 63, 64, 85, 127, 128, 255]);
        let long = *chance.of(&[256, 300, 1000, 3000]);
        let (length, name) = match chance.below(10) {
            0..=2 => (short, format!("char({short})")),
            3..=5 => (short, format!("varchar({short})")),
            6 => (long, format!("varchar({long})")),
            7 => (60, "tinytext".to_owned()),
            8 => (16_000, "text".to_owned()),
            _ if chance.percent(50) => (100_000, "mediumtext".to_owned()),
            _ => (100_000, "longtext".to_owned()),
        };
        (Kind::Text { charset, length }, name + &clause)
    }

    fn bytes(&self, chance: &mut Chance) -> (Kind, String) {
        let short = *chance.of(&[1, 2, 16, 60, 127, 255]);
        let long = *chance.of(&[256, 3000]);
        let (length, name) = match chance.below(8) {
            0 | 1 => (short, format!("binary({short})")),
            2 | 3 => (short, format!("varbinary({short})")),
            4 => (long, format!("varbinary({long})")),
            5 => (255, "tinyblob".to_owned()),
            6 => (65_535, "blob".to_owned()),
            _ if chance.percent(50) => (100_000, "mediumblob".to_owned()),
            _ => (100_000, "longblob".to_owned()),
        };
        (Kind::Bytes { length, fixed: name.starts_with("binary") }, name)
    }

    fn compressed(&self, chance: &mut Chance) -> (Kind, String) {
        if chance.percent(50) {
            let length = *chance.of(&[255, 300, 3000]);
            let name = *chance.of(&["varbinary", "blob", "longblob", "tinyblob"]);
            let size = if name == "varbinary" { format!("({length})") } else { String::new() };
            let kind = Kind::Bytes { length: length.min(255), fixed: false };
            return (kind, format!("{name}{size} compressed"));
        }
        let (charset, clause) = self.charset(chance);
        let length = *chance.of(&[60, 300]);
        let name = *chance.of(&["varchar", "text", "mediumtext"]);
        let size = if name == "varchar" { format!("({length})") } else { String::new() };
        (Kind::Text { charset, length }, format!("{name}{size} compressed{clause}"))
    }

    /// ENUM or SET.
    fn members(&self, chance: &mut Chance, most: usize, one: bool) -> (Kind, String) {
        let (charset, clause) = self.charset(chance);
        let any = 1 + chance.length(12);
        let count = *chance.of(&[any, any, any, most, 8, 9]);
        let accents = ["latin1", "utf8mb4", "utf8mb3", "utf16", "ucs2", "utf32", "utf16le"];
        let accent = if accents.contains(&charset.as_str()) { "é" } else { "" };
        let style = *chance.of(&["m", "", "a b ", "it''s ", accent]);
        let members: Vec<String> = (0..count).map(|index| format!("{style}{index}")).collect();
        let list = members.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(",");
        let name = if one { "enum" } else { "set" };
        let kind =
            if one { Kind::Enum { members, charset } } else { Kind::Set { members, charset } };
        (kind, format!("{name}({list}){clause}"))
    }
}

fn sign(unsigned: bool) -> &'static str {
    if unsigned { " unsigned" } else { "" }
}

fn integer(chance: &mut Chance) -> (Kind, String) {
    let sizes = [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)];
    let (name, bits) = *chance.of(&sizes);
    let unsigned = chance.percent(45);
    let fill = if unsigned && chance.percent(10) { " zerofill" } else { "" };
    (Kind::Int { bits, unsigned }, format!("{name}{}{fill}", sign(unsigned)))
}

fn decimal(chance: &mut Chance) -> (Kind, String) {
    let precision = 1 + chance.below(65);
    let precision = *chance.of(&[precision, precision, 65, 9, 10, 18]);
    let scale = chance.below(precision.min(30) + 1);
    let unsigned = chance.percent(20);
    let kind = Kind::Decimal { precision, scale, unsigned };
    (kind, format!("decimal({precision},{scale}){}", sign(unsigned)))
}

fn temporal(name: &str, kind: fn(usize) -> Kind, chance: &mut Chance) -> (Kind, String) {
    let digits = chance.below(7);
    let text = if digits == 0 { name.to_owned() } else { format!("{name}({digits})") };
    (kind(digits), text)
}

fn geometry(chance: &mut Chance) -> (Kind, String) {
    let names = [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
    ];
    let name = *chance.of(&names);
    (Kind::Geometry(name), name.to_owned())
}
