//! `google.protobuf.Struct` as JSON: the metadata that an authorization service hands to other filters.

use serde_json::{Map, Number, Value as Json};

use super::protobuf::{Malformed, Value, read};

/// A `Struct`.
pub(super) fn object(bytes: &[u8], depth: usize) -> Result<Json, Malformed> {
    let mut object = Map::new();
    read(bytes, |field, value| {
        if field == 1 {
            let (mut key, mut content) = (String::new(), Json::Null);
            read(value.bytes(), |field, value| {
                match field {
                    1 => key = value.text()?.to_owned(),
                    2 => content = any(value.bytes(), depth)?,
                    _ => {}
                }
                Ok(())
            })?;
            object.insert(key, content);
        }
        Ok(())
    })?;
    Ok(Json::Object(object))
}

/// A `Value`; of several kinds in it the last counts.
fn any(bytes: &[u8], depth: usize) -> Result<Json, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed("its metadata is nested too deeply"));
    }
    let mut any = Json::Null;
    read(bytes, |field, value| {
        any = match (field, value) {
            (2, Value::Double(number)) => {
                Number::from_f64(f64::from_bits(number)).map_or(Json::Null, Json::Number)
            }
            (3, value) => Json::String(value.text()?.to_owned()),
            (4, value) => Json::Bool(value.number() != 0),
            (5, value) => object(value.bytes(), depth + 1)?,
            (6, value) => list(value.bytes(), depth + 1)?,
            _ => Json::Null,
        };
        Ok(())
    })?;
    Ok(any)
}

fn list(bytes: &[u8], depth: usize) -> Result<Json, Malformed> {
    let mut list = Vec::new();
    read(bytes, |field, value| {
        if field == 1 {
            list.push(any(value.bytes(), depth)?);
        }
        Ok(())
    })?;
    Ok(Json::Array(list))
}

const DEEPEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::protobuf::Writer;
    use super::*;

    fn entry(key: &str, value: Writer) -> Writer {
        Writer::new().message(1, Writer::new().bytes(1, key.as_bytes()).message(2, value))
    }

    #[test]
    fn metadata_becomes_json() {
        let text = |text: &str| Writer::new().bytes(3, text.as_bytes());
        let list = Writer::new().message(1, text("a")).message(1, Writer::new().number(4, 1));
        let bytes = [
            entry("user", text("ann")).finish(),
            // 1.5 as a `double` in field 2.
            entry_of("quota", b"\x11\0\0\0\0\0\0\xf8\x3f"),
            entry("all", Writer::new().message(6, list)).finish(),
            entry("in", Writer::new().message(5, entry("none", Writer::new()))).finish(),
        ]
        .concat();
        let want =
            serde_json::json!({ "user": "ann", "quota": 1.5, "all": ["a", true], "in": { "none": null } });
        assert_eq!(object(&bytes, 0), Ok(want));
    }

    fn entry_of(key: &str, value: &[u8]) -> Vec<u8> {
        let pair = Writer::new().bytes(1, key.as_bytes()).bytes(2, value);
        Writer::new().message(1, pair).finish()
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let mut deep = Writer::new();
        for _ in 0..100 {
            deep = entry("a", Writer::new().message(5, deep));
        }
        assert!(object(&deep.finish(), 0).is_err());
    }
}
