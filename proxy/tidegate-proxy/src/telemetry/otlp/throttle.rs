//! When a collector by gRPC wants to be asked again: `RetryInfo` among the details of a status.
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling>

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use prost::Message;

/// Details of a status, a field of trailers.
const DETAILS: &str = "grpc-status-details-bin";
/// What a type's name ends with, whoever resolves it.
const RETRY_INFO: &str = "/google.rpc.RetryInfo";

/// Fields of bytes may come with padding or without.
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The least time after which a collector wants to be asked again; none: it does not say that it does.
pub(super) fn asked(fields: &HeaderMap) -> Option<Duration> {
    let details = BINARY.decode(fields.get(DETAILS)?).ok()?;
    let details = Status::decode(&*details).ok()?.details;
    let info = details.into_iter().find(|detail| detail.type_url.ends_with(RETRY_INFO))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    let whole = Duration::from_secs(u64::try_from(delay.seconds).unwrap_or(0));
    Some(whole + Duration::from_nanos(u64::try_from(delay.nanos).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_read_where_it_is_said() {
        let read = |text: &str| {
            asked(&HeaderMap::from_iter([(
                http::HeaderName::from_static(DETAILS),
                text.parse().expect("it is a value"),
            )]))
        };
        // A help's link before it, then 7.5 s.
        let details = "CAgSBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIBxCAyrXuAQ";
        assert_eq!(read(details), Some(Duration::from_millis(7500)));
        assert_eq!(read(&format!("{details}==")), Some(Duration::from_millis(7500)));
        let encoded = |delay: Option<Delay>| {
            let value = RetryInfo { retry_delay: delay }.encode_to_vec();
            let detail = Any { type_url: format!("type.googleapis.com{RETRY_INFO}"), value };
            BINARY.encode(Status { details: vec![detail] }.encode_to_vec())
        };
        assert_eq!(read(&encoded(None)), Some(Duration::ZERO));
        assert_eq!(read(&encoded(Some(Delay { seconds: -1, nanos: -1 }))), Some(Duration::ZERO));
        assert_eq!((read(""), read("!"), read("AAAA")), (None, None, None));
        assert_eq!(asked(&HeaderMap::new()), None);
    }
}
