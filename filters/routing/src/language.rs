//! The language that a client prefers (RFC 9110, section 12.5.4; lookup of RFC 4647, section 3.4).

/// The entry of `known` (in lower case) that fits a value of `accept-language` best.
pub(crate) fn best<'a, T>(accept: &str, known: &'a [(String, T)]) -> Option<&'a T> {
    let mut ranges: Vec<(&str, u16)> = accept.split(',').take(MOST).filter_map(range).collect();
    // Among equals the first one counts.
    ranges.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    ranges.iter().find_map(|(range, _)| lookup(&range.to_ascii_lowercase(), known))
}

/// A range and its quality in thousandths; none for one that is not wanted or cannot be read.
fn range(part: &str) -> Option<(&str, u16)> {
    let mut parameters = part.split(';').map(str::trim);
    let range = parameters.next().filter(|range| !range.is_empty() && *range != "*")?;
    let quality =
        parameters.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
    let quality = quality.map_or(Some(1000), thousandths)?;
    (quality > 0).then_some((range, quality))
}

/// `0.875` as 875.
fn thousandths(text: &str) -> Option<u16> {
    let value: f32 = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    Some((value * 1000.0).round() as u16)
}

/// The entry that equals a range, or what is left of it without its last parts.
fn lookup<'a, T>(range: &str, known: &'a [(String, T)]) -> Option<&'a T> {
    let mut range = range;
    loop {
        if let Some((_, found)) = known.iter().find(|(name, _)| name == range) {
            return Some(found);
        }
        range = range.rsplit_once('-')?.0;
    }
}

/// Ranges that are looked at; clients send a handful.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn the_most_wanted_language_that_there_is_counts() {
        let known =
            [("de", 1), ("en", 2), ("de-at", 3), ("zh-hant", 4)].map(|(name, at)| (name.to_owned(), at));
        for (accept, wanted) in [
            ("de", Some(1)),
            ("DE-ch", Some(1)),
            ("de-AT", Some(3)),
            ("fr, en;q=0.8, de;q=0.9", Some(1)),
            ("de;q=0.5, en;q=0.5", Some(1)),
            ("de;q=0, en;q=0.001", Some(2)),
            ("en ; q=0.2 , zh-Hant-TW;Q=0.3", Some(4)),
            ("*", None),
            ("fr;q=2, en;q=x", None),
            ("zh", None),
            ("", None),
            (",;q=1,", None),
        ] {
            assert_eq!(best(accept, &known).copied(), wanted, "{accept}");
        }
    }
}
