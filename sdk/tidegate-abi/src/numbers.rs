//! Enumerations of the ABI: each value is the number that crosses the border.

/// Makes an enumeration with checked conversion from its number.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$item])* $variant = $value,)*
        }

        impl $name {
            /// The value with this number; `None` when the ABI does not define it.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number that crosses the border.
            #[must_use]
            pub const fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

numbers! {
    /// What a host function answers.
    Status {
        /// Done.
        Ok = 0,
        /// The thing asked for does not exist.
        NotFound = 1,
        /// A parameter is not allowed here.
        BadArgument = 2,
        /// A value cannot be written in the ABI's encoding.
        SerializationFailure = 3,
        /// A value cannot be read.
        ParseFailure = 4,
        /// An expression is wrong.
        BadExpression = 5,
        /// A pointer is outside of the guest's memory.
        InvalidMemoryAccess = 6,
        /// A queue has no entry.
        Empty = 7,
        /// A shared value was changed by somebody else.
        CasMismatch = 8,
        /// The result is not of the expected kind.
        ResultMismatch = 9,
        /// The host failed.
        InternalFailure = 10,
        /// The connection is gone.
        BrokenConnection = 11,
        /// The host does not have this function.
        Unimplemented = 12,
    }
}

numbers! {
    /// A map of header fields.
    MapKind {
        /// Request headers.
        RequestHeaders = 0,
        /// Request trailers.
        RequestTrailers = 1,
        /// Response headers.
        ResponseHeaders = 2,
        /// Response trailers.
        ResponseTrailers = 3,
        /// First metadata of a gRPC call's answer.
        GrpcInitialMetadata = 4,
        /// Last metadata of a gRPC call's answer.
        GrpcTrailingMetadata = 5,
        /// Headers of an HTTP call's answer.
        CallHeaders = 6,
        /// Trailers of an HTTP call's answer.
        CallTrailers = 7,
    }
}

numbers! {
    /// A buffer of bytes.
    BufferKind {
        /// Body of the request.
        RequestBody = 0,
        /// Body of the response.
        ResponseBody = 1,
        /// Bytes from the client of a TCP stream.
        DownstreamData = 2,
        /// Bytes from the server of a TCP stream.
        UpstreamData = 3,
        /// Body of an HTTP call's answer.
        CallBody = 4,
        /// Message of a gRPC call's answer.
        GrpcMessage = 5,
        /// Configuration of the VM.
        VmConfiguration = 6,
        /// Configuration of the plugin.
        PluginConfiguration = 7,
        /// Result of a foreign function that answers later.
        CallData = 8,
    }
}

numbers! {
    /// One direction of a stream.
    StreamKind {
        /// From the client, HTTP.
        Request = 0,
        /// To the client, HTTP.
        Response = 1,
        /// From the client, TCP.
        Downstream = 2,
        /// To the client, TCP.
        Upstream = 3,
    }
}

numbers! {
    /// What a metric does with its values.
    MetricKind {
        /// Only grows.
        Counter = 0,
        /// Goes up and down.
        Gauge = 1,
        /// Counts values by size.
        Histogram = 2,
    }
}

numbers! {
    /// Who closed a connection.
    Peer {
        /// Nobody knows.
        Unknown = 0,
        /// This side.
        Local = 1,
        /// The other side.
        Remote = 2,
    }
}

numbers! {
    /// How much a log line matters.
    LogLevel {
        /// Everything.
        Trace = 0,
        /// For finding faults.
        Debug = 1,
        /// For knowing what happens.
        Info = 2,
        /// Something looks wrong.
        Warn = 3,
        /// Something is wrong.
        Error = 4,
        /// Nothing works.
        Critical = 5,
    }
}

/// What a stream callback answers. Hosts take more values than the two portable ones; which ones
/// depends on the callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Goes on.
    Continue = 0,
    /// Holds this part back. In body callbacks: and keeps what came so far.
    Pause = 1,
    /// Headers: like `Continue`. Body: holds this part back without showing it again.
    ContinueAndEndStream = 2,
    /// Headers: holds back and stops all callbacks of this direction. Body: holds back, dropping
    /// this part.
    PauseAll = 3,
    /// Body, of guests whose actions are exact: holds back, and shows no more until the guest goes on or asks for it.
    PauseUnfed = 4,
}

impl Action {
    /// Reads the answer of a headers callback; unknown values stop everything, which is the safe reading.
    #[must_use]
    pub const fn of_headers(number: u32) -> Self {
        match number {
            0 | 2 => Self::Continue,
            1 => Self::Pause,
            _ => Self::PauseAll,
        }
    }

    /// Reads the answer of a body callback.
    #[must_use]
    pub const fn of_body(number: u32) -> Self {
        match number {
            0 => Self::Continue,
            1 => Self::Pause,
            2 => Self::ContinueAndEndStream,
            4 => Self::PauseUnfed,
            _ => Self::PauseAll,
        }
    }

    /// Reads the answer of a callback for connections and their bytes.
    #[must_use]
    pub const fn of_connection(number: u32) -> Self {
        match number {
            0 => Self::Continue,
            _ => Self::Pause,
        }
    }

    /// Reads the answer of a trailers callback.
    #[must_use]
    pub const fn of_trailers(number: u32) -> Self {
        match number {
            0 => Self::Continue,
            _ => Self::Pause,
        }
    }
}

/// Statuses of gRPC that hosts make up themselves; servers may send others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcStatus;

impl GrpcStatus {
    /// Done.
    pub const OK: u32 = 0;
    /// Nobody said how it ended.
    pub const UNKNOWN: u32 = 2;
    /// It took too long.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// A limit is reached.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// What came is not gRPC.
    pub const INTERNAL: u32 = 13;
    /// The server cannot be reached, or went away.
    pub const UNAVAILABLE: u32 = 14;
}

/// A version of the ABI, which a module names by exporting a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbiVersion {
    /// 0.1.0
    V0_1_0,
    /// 0.2.0
    V0_2_0,
    /// 0.2.1
    V0_2_1,
}

impl AbiVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_1_0, Self::V0_2_0, Self::V0_2_1];

    /// The version that an exported function of this name stands for. A vendor's `0_2_100` is
    /// 0.2.1 with more header actions, which [`Action::of_headers`] reads in any version.
    #[must_use]
    pub fn from_export(name: &str) -> Option<Self> {
        match name {
            "proxy_abi_version_0_1_0" => Some(Self::V0_1_0),
            "proxy_abi_version_0_2_0" => Some(Self::V0_2_0),
            "proxy_abi_version_0_2_1" | "proxy_abi_version_0_2_100" => Some(Self::V0_2_1),
            _ => None,
        }
    }

    /// The version in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_both_ways() {
        for number in 0..=12 {
            assert_eq!(Status::from_number(number).map(Status::number), Some(number));
        }
        assert_eq!(Status::from_number(13), None);
        assert_eq!(MapKind::from_number(8), None);
        assert_eq!(BufferKind::from_number(9), None);
    }

    #[test]
    fn answers_of_callbacks_have_a_safe_reading() {
        assert_eq!(Action::of_headers(2), Action::Continue);
        assert_eq!(Action::of_headers(77), Action::PauseAll);
        assert_eq!(Action::of_body(2), Action::ContinueAndEndStream);
        assert_eq!(Action::of_body(9), Action::PauseAll);
        assert_eq!(Action::of_trailers(5), Action::Pause);
        assert_eq!(Action::of_connection(7), Action::Pause);
    }

    #[test]
    fn versions_are_known_by_export() {
        assert_eq!(AbiVersion::from_export("proxy_abi_version_0_2_100"), Some(AbiVersion::V0_2_1));
        assert_eq!(AbiVersion::from_export("proxy_abi_version_0_3_0"), None);
    }
}
