//! Counts as people say them.

/// So many of what one is called.
pub(crate) fn many(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|count| many(count, "request")), ["0 requests", "1 request", "2 requests"]);
    }
}
