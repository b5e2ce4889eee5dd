//! Who sends: the attributes of the resource, the same for all signals.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;

use tidegate_config::plan::Otlp;

use super::messages::any_value::Value as Any;
use super::messages::{AnyValue, InstrumentationScope, KeyValue, Resource};

/// <https://opentelemetry.io/docs/specs/semconv/>
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Names this process among others of its service: a UUID (RFC 9562, version 4).
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let [high, low] = [(); 2].map(|()| RandomState::new().build_hasher().finish());
    uuid(u128::from(high) << 64 | u128::from(low))
});

fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76 | 0b11 << 62) | 4 << 76 | 0b10 << 62;
    let part = |from: u32, digits: usize| {
        let mask = (1_u128 << (digits * 4)) - 1;
        format!("{:0digits$x}", bits >> from & mask)
    };
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

/// Who sends to this collector.
pub(super) fn of(otlp: &Otlp) -> Resource {
    let mut attributes = otlp.resource.clone();
    for (name, value) in [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", &INSTANCE)]
    {
        if attributes.iter().all(|(known, _)| known != name) {
            attributes.push((name.to_owned(), value.to_owned()));
        }
    }
    let attribute =
        |(key, text)| KeyValue { key, value: Some(AnyValue { value: Some(Any::StringValue(text)) }) };
    Resource { attributes: attributes.into_iter().map(attribute).collect() }
}

/// What makes the signals.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "tidegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(INSTANCE.len(), 36);
    }
}
