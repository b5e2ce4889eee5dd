//! Values with a unit or a grammar of their own: time, sizes, hosts and the pieces of HTTP.

mod bytes;
mod host;
mod http;
mod memory;
mod network;
mod timeout;
mod url;

pub use bytes::ByteSize;
pub(crate) use host::{
    check_host_suffix, check_server_name, parse_host, parse_new_host, parse_server, parse_socket,
};
pub(crate) use http::{
    anchored, check_header_value, check_method, check_name, check_path, check_regex, parse_changed_header,
    parse_header_name,
};
pub use memory::Memory;
pub use network::Network;
pub(crate) use network::parse_network;
pub use timeout::Timeout;
pub(crate) use url::check_url;
