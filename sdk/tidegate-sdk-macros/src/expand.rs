//! What `#[filter]` makes of an `impl` block: the block with its gaps filled, and the exports that its methods need.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, FnArg, ImplItem, ImplItemFn, ItemImpl, parse_quote};

/// A handler, the parameter that it may leave out, and which callbacks it needs without and with it.
struct Handler {
    name: &'static str,
    params: usize,
    optional: fn() -> FnArg,
    head: Option<&'static str>,
    with_optional: Option<&'static str>,
    is_async: bool,
}

const HANDLERS: &[Handler] = &[
    handler("on_request", Some("request"), Some("request_body")),
    handler("on_response", Some("response"), Some("response_body")),
    handler("on_connection", Some("connection"), Some("client")),
    handler("on_server", Some("server"), None),
    Handler { is_async: false, params: 2, ..handler("on_log", Some("log"), None) },
    Handler { params: 1, ..handler("on_tick", None, None) },
    Handler { params: 1, ..handler("background", Some("background"), None) },
    Handler { is_async: false, params: 2, optional: plugin, ..handler("new", None, None) },
];

const fn handler(
    name: &'static str,
    head: Option<&'static str>,
    with_optional: Option<&'static str>,
) -> Handler {
    Handler { name, params: 3, optional: body, head, with_optional, is_async: true }
}

fn body() -> FnArg {
    parse_quote!(_: &mut ::tidegate_sdk::Body)
}

fn plugin() -> FnArg {
    parse_quote!(_: &::tidegate_sdk::Plugin)
}

pub(crate) fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let written = item.clone();
    match expand(arguments, item) {
        Ok(expanded) => expanded,
        // The block as it was written, so that its own mistakes are shown as well.
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #written)
        }
    }
}

fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[filter] takes no arguments"));
    }
    let mut block: ItemImpl = syn::parse2(item)?;
    let is_filter = block
        .trait_
        .as_ref()
        .is_some_and(|(path, _)| path.segments.last().is_some_and(|segment| segment.ident == "Filter"));
    if !is_filter {
        return Err(Error::new(Span::call_site(), "#[filter] stands above an `impl Filter for X` block"));
    }
    if let Some(parameter) = block.generics.params.first() {
        return Err(Error::new_spanned(
            parameter,
            "a filter has no type parameters: a module has one filter",
        ));
    }
    let mut callbacks = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            complete(function, &mut callbacks)?;
        }
    }
    add_missing(&mut block, &callbacks);
    let filter = &block.self_ty;
    let exports = callbacks.iter().filter(|name| **name != "background").map(|name| format_ident!("{name}"));
    Ok(quote! {
        #[allow(refining_impl_trait, reason = "what handlers return is up to the filter")]
        #block
        ::tidegate_sdk::__export! { #filter; #(#exports)* }
    })
}

/// Adds the parameter that a handler left out, and notes which callbacks it needs.
fn complete(function: &mut ImplItemFn, callbacks: &mut Vec<&'static str>) -> Result<(), Error> {
    let signature = &mut function.sig;
    let Some(handler) = HANDLERS.iter().find(|handler| signature.ident == handler.name) else {
        return Ok(());
    };
    if handler.is_async && signature.asyncness.is_none() {
        let message = format!("`{}` must be an `async fn`", handler.name);
        return Err(Error::new_spanned(&signature.ident, message));
    }
    callbacks.extend(handler.head);
    if signature.inputs.len() == handler.params {
        callbacks.extend(handler.with_optional);
    }
    let may_be_left_out =
        matches!(handler.name, "new" | "on_request" | "on_response" | "on_connection" | "on_server");
    if may_be_left_out && signature.inputs.len() + 1 == handler.params {
        signature.inputs.push((handler.optional)());
    }
    Ok(())
}

/// Adds the items that the block left out.
fn add_missing(block: &mut ItemImpl, callbacks: &[&str]) {
    let has = |block: &ItemImpl, name: &str| {
        block.items.iter().any(|item| matches!(item, ImplItem::Type(known) if known.ident == name))
    };
    if !has(block, "Config") {
        block.items.push(parse_quote!(
            type Config = ::tidegate_sdk::NoConfig;
        ));
    }
    if !has(block, "State") {
        block.items.push(parse_quote!(
            type State = ();
        ));
    }
    let names = callbacks.iter().map(|name| format_ident!("{}", name.to_uppercase()));
    block.items.push(parse_quote! {
        #[doc(hidden)]
        const CALLBACKS: ::tidegate_sdk::Callbacks =
            ::tidegate_sdk::Callbacks::NONE #(.and(::tidegate_sdk::Callbacks::#names))*;
    });
}
