//! Labels in the names that guests give: the ABI has names only, so SDKs write `name{label="value"}` as Prometheus does.

/// A name without its labels, and the labels. None: there are no labels, or what looks like them cannot be shown as
/// such, and the name is taken as it is.
pub(super) fn split(name: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (name, mut rest) = name.split_once('{')?;
    let mut labels: Vec<(&str, String)> = Vec::new();
    loop {
        let (label, text) = rest.split_once("=\"")?;
        if !is_label(label) || labels.iter().any(|(known, _)| *known == label) {
            return None;
        }
        let (value, after) = value(text)?;
        labels.push((label, value));
        match after {
            "}" => return Some((name, labels)),
            _ => rest = after.strip_prefix(',')?,
        }
    }
}

/// What Prometheus takes, but for the labels that the gateway gives itself.
fn is_label(label: &str) -> bool {
    let mut bytes = label.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !label.starts_with("__")
        && !matches!(label, "plugin" | "name" | "le")
}

/// A value up to its closing quote, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_written() {
        let (name, labels) = split(r#"n{a="b",c="\"\\\n,}",_d=""}"#).expect("labels");
        assert_eq!(name, "n");
        assert_eq!(labels, [("a", "b".to_owned()), ("c", "\"\\\n,}".to_owned()), ("_d", String::new())]);
    }

    #[test]
    fn what_is_no_list_of_labels_stays_a_name() {
        for name in [
            "n",
            "n{",
            "n{}",
            r#"n{a="b""#,
            r#"n{a="b"}x"#,
            r#"n{a="b",}"#,
            r#"n{a="b" ,c="d"}"#,
            r#"n{1a="b"}"#,
            r#"n{a-b="c"}"#,
            r#"n{plugin="b"}"#,
            r#"n{le="b"}"#,
            r#"n{__name__="b"}"#,
            r#"n{a="b",a="c"}"#,
            r#"n{a="\x"}"#,
            r#"n{a="\"#,
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
