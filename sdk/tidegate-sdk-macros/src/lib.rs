//! The `#[filter]` attribute of tidegate-sdk, which re-exports and documents it.

#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod expand;

/// Makes a Wasm module of an `impl Filter for X` block, and fills in what it leaves out.
///
/// See `tidegate_sdk::Filter` for how to use it.
#[proc_macro_attribute]
pub fn filter(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand::filter(arguments.into(), item.into()).into()
}
