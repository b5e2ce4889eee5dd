//! The sections of a Wasm module. Custom sections are found, added and taken out; everything else stays as it is, byte
//! for byte.

use std::ops::Range;

/// One section.
#[derive(Debug)]
struct Section<'a> {
    /// With its header.
    range: Range<usize>,
    id: u8,
    content: &'a [u8],
}

impl<'a> Section<'a> {
    /// Name and data of a custom section.
    fn custom(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.id != CUSTOM {
            return None;
        }
        let (length, used) = read_size(self.content)?;
        self.content.get(used..)?.split_at_checked(length)
    }
}

/// The data of all custom sections of a name.
pub(crate) fn custom<'a>(module: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>, String> {
    let sections = sections(module)?;
    let found = sections.iter().filter_map(Section::custom).filter(|(own, _)| *own == name.as_bytes());
    Ok(found.map(|(_, data)| data).collect())
}

/// The module without the custom sections of a name.
pub(crate) fn without(module: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let mut rest = module.get(..HEADER).unwrap_or_default().to_vec();
    for section in sections(module)? {
        if section.custom().is_none_or(|(own, _)| own != name.as_bytes()) {
            rest.extend(module.get(section.range).unwrap_or_default());
        }
    }
    Ok(rest)
}

/// The module with a further custom section at its end.
pub(crate) fn with(module: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    write_size(name.len(), &mut content);
    content.extend(name.as_bytes());
    content.extend(data);
    let mut longer = module.to_vec();
    longer.push(CUSTOM);
    write_size(content.len(), &mut longer);
    longer.extend(content);
    longer
}

fn sections(module: &[u8]) -> Result<Vec<Section<'_>>, String> {
    if !module.starts_with(b"\0asm\x01\0\0\0") {
        return Err("not a WebAssembly module".to_owned());
    }
    let mut sections = Vec::new();
    let mut start = HEADER;
    while let Some(id) = module.get(start) {
        let wrong = || format!("the module is cut off in the section at byte {start}");
        let (size, used) = module.get(start + 1..).and_then(read_size).ok_or_else(wrong)?;
        let begin = start + 1 + used;
        let end = begin.checked_add(size).ok_or_else(wrong)?;
        let content = module.get(begin..end).ok_or_else(wrong)?;
        sections.push(Section { range: start..end, id: *id, content });
        start = end;
    }
    Ok(sections)
}

/// A number in LEB128, and how many bytes it takes.
fn read_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

fn write_size(mut size: usize, to: &mut Vec<u8>) {
    loop {
        let byte = (size & 0x7f) as u8;
        size >>= 7;
        if size == 0 {
            to.push(byte);
            return;
        }
        to.push(byte | 0x80);
    }
}

/// Magic number and version.
const HEADER: usize = 8;

/// The id of custom sections.
const CUSTOM: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Vec<u8> {
        wat::parse_str("(module (memory 1) (func (export \"f\")))").expect("a module")
    }

    #[test]
    fn sections_come_and_go_without_a_trace() {
        let plain = module();
        let long = vec![7; 300];
        let two = with(&with(&plain, "a", &long), "b", b"");
        assert_eq!(custom(&two, "a"), Ok(vec![&long[..]]));
        assert_eq!(custom(&two, "b"), Ok(vec![&b""[..]]));
        assert_eq!(without(&without(&two, "a").expect("valid"), "b"), Ok(plain.clone()));
        assert_eq!(without(&plain, "a"), Ok(plain));
    }

    #[test]
    fn whatever_is_cut_off_is_an_error_or_has_no_such_section() {
        let whole = with(&module(), "a", &[7; 300]);
        for end in 0..whole.len() {
            assert!(custom(&whole[..end], "a").map_or(true, |found| found.is_empty()), "{end}");
        }
        for nasty in
            [&b"\0asm\x01\0\0\0\0\xff\xff\xff\xff\xff"[..], b"\0asm\x01\0\0\0\0\xff\xff\xff\xff\x0f", b"x"]
        {
            assert!(custom(nasty, "a").is_err());
        }
    }
}
