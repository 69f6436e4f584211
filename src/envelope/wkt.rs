//! Well-known binary → well-known text, for the seven types that the servers have (OGC 06-103r4, 7.2 and 8.2).

use crate::binlog::value::push_double;

/// How deep collections may lie within each other.
const DEPTH_MAX: u32 = 16;

/// Appends the text of a geometry. `None` if the bytes are none, or not exactly one; `out` may then hold a part.
pub(super) fn push(wkb: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut wkb = Wkb { rest: wkb, big: false };
    wkb.geometry(None, 0, out)?;
    wkb.rest.is_empty().then_some(())
}

struct Wkb<'a> {
    rest: &'a [u8],
    big: bool,
}

impl Wkb<'_> {
    /// A geometry with its name; `within` a collection of one type, without.
    fn geometry(&mut self, within: Option<u32>, depth: u32, out: &mut Vec<u8>) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let [order] = self.array()?;
        self.big = match order {
            0 => true,
            1 => false,
            _ => return None,
        };
        let kind = self.number()?;
        if within.is_some_and(|within| within != kind) {
            return None;
        }
        if within.is_none() {
            let name = ["POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING"];
            let name = name.into_iter().chain(["MULTIPOLYGON", "GEOMETRYCOLLECTION"]);
            let name = name.into_iter().nth(kind.checked_sub(1)? as usize)?;
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
        }
        match kind {
            1 => {
                out.push(b'(');
                self.point(out)?;
                out.push(b')');
                Some(())
            }
            2 => self.list(out, Self::point),
            3 => self.list(out, |wkb, out| wkb.list(out, Self::point)),
            4..=6 => self.list(out, |wkb, out| wkb.geometry(Some(kind - 3), depth + 1, out)),
            7 => self.list(out, |wkb, out| wkb.geometry(None, depth + 1, out)),
            _ => None,
        }
    }

    /// A count, and so many of something; each takes bytes, so the count is no promise.
    fn list(
        &mut self,
        out: &mut Vec<u8>,
        each: impl Fn(&mut Self, &mut Vec<u8>) -> Option<()>,
    ) -> Option<()> {
        let count = self.number()?;
        if count == 0 {
            out.extend_from_slice(b"EMPTY");
            return Some(());
        }
        out.push(b'(');
        for index in 0..count {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            each(self, out)?;
        }
        out.push(b')');
        Some(())
    }

    fn point(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let (x, y) = (self.double()?, self.double()?);
        push_double(x, false, out);
        out.push(b' ');
        push_double(y, false, out);
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.array()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn double(&mut self) -> Option<f64> {
        let bytes = self.array()?;
        let number = if self.big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) };
        number.is_finite().then_some(number)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wkb: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        push(wkb, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    fn head(kind: u32) -> Vec<u8> {
        [&[1][..], &kind.to_le_bytes()].concat()
    }

    fn points(numbers: &[f64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn each_type_has_its_text() {
        let count = |count: u32| count.to_le_bytes().to_vec();
        let line = [head(2), count(2), points(&[0.0, 1.0, 2.5, 3.0])].concat();
        assert_eq!(text(&line).unwrap(), "LINESTRING (0 1, 2.5 3)");
        let ring = [count(1), count(3), points(&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0])].concat();
        let polygon = [head(3), ring].concat();
        assert_eq!(text(&polygon).unwrap(), "POLYGON ((0 0, 1 0, 0 0))");
        let point = [head(1), points(&[1.0, -2.0])].concat();
        let many = [head(4), count(1), point.clone()].concat();
        assert_eq!(text(&many).unwrap(), "MULTIPOINT ((1 -2))");
        let all = [head(7), count(2), point, line].concat();
        let wanted = "GEOMETRYCOLLECTION (POINT (1 -2), LINESTRING (0 1, 2.5 3))";
        assert_eq!(text(&all).unwrap(), wanted);
        assert_eq!(text(&[head(7), count(0)].concat()).unwrap(), "GEOMETRYCOLLECTION EMPTY");
    }

    #[test]
    fn big_endian_is_read_as_well() {
        let mut point = vec![0, 0, 0, 0, 1];
        point.extend([1.0_f64, 2.0].iter().flat_map(|number| number.to_be_bytes()));
        assert_eq!(text(&point).unwrap(), "POINT (1 2)");
    }

    #[test]
    fn what_is_no_geometry_is_refused() {
        let point = [head(1), points(&[1.0, 2.0])].concat();
        for end in 0..point.len() {
            assert_eq!(text(&point[..end]), None, "cut at {end}");
        }
        assert_eq!(text(&[point.clone(), vec![0]].concat()), None);
        assert_eq!(text(&[head(2), vec![0xFF; 4], point].concat()), None);
        // Collections in collections, deeper than any that means well.
        let nested = [head(7), vec![1, 0, 0, 0]].concat().repeat(100);
        assert_eq!(text(&nested), None);
    }
}
