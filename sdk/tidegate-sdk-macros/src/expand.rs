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
    /// Its parameters, for those who wrote others.
    takes: &'static str,
}

const HANDLERS: &[Handler] = &[
    Handler {
        takes: "`&self, request: &mut Request` and, if it wants the body, `body: &mut Body`",
        ..handler("on_request", Some("request"), Some("request_body"))
    },
    Handler {
        takes: "`&self, response: &mut Response` and, if it wants the body, `body: &mut Body`",
        ..handler("on_response", Some("response"), Some("response_body"))
    },
    Handler {
        takes: "`&self, connection: &mut Connection` and, if it wants the bytes, `client: &mut Body`",
        ..handler("on_connection", Some("connection"), Some("client"))
    },
    Handler {
        takes: "`&self, connection: &mut Connection` and, if it wants the bytes, `server: &mut Body`",
        ..handler("on_server", Some("server"), None)
    },
    Handler {
        is_async: false,
        params: 2,
        takes: "`&self, finished: &Finished`",
        ..handler("on_log", Some("log"), None)
    },
    Handler { params: 1, ..handler("on_tick", None, None) },
    Handler { params: 1, ..handler("background", Some("background"), None) },
    Handler {
        is_async: false,
        params: 2,
        optional: plugin,
        takes: "`config: Self::Config` and, if it wants the plugin, `plugin: &Plugin`",
        ..handler("new", None, None)
    },
];

const fn handler(
    name: &'static str,
    head: Option<&'static str>,
    with_optional: Option<&'static str>,
) -> Handler {
    Handler { name, params: 3, optional: body, head, with_optional, is_async: true, takes: "`&self`" }
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
    if !handler.is_async && signature.asyncness.is_some() {
        let message = format!(
            "`{}` cannot be an `async fn`, since nothing waits for it: what takes time goes to `background` or `spawn`",
            handler.name
        );
        return Err(Error::new_spanned(&signature.ident, message));
    }
    let may_be_left_out =
        matches!(handler.name, "new" | "on_request" | "on_response" | "on_connection" | "on_server");
    let lacks = handler.params.checked_sub(signature.inputs.len());
    // The trait has all parameters, so the compiler would ask for more than are needed.
    if lacks.is_none_or(|lacks| lacks > usize::from(may_be_left_out)) {
        let message = format!("`{}` takes {}", handler.name, handler.takes);
        return Err(Error::new_spanned(&signature.ident, message));
    }
    callbacks.extend(handler.head);
    match lacks {
        Some(1) => signature.inputs.push((handler.optional)()),
        _ => callbacks.extend(handler.with_optional),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(method: &str) -> String {
        let block = format!("impl Filter for X {{ {method} }}");
        let tokens = block.parse().expect("tokens");
        expand(TokenStream::new(), tokens).expect_err("a wrong method").to_string()
    }

    #[test]
    fn handlers_that_are_written_wrong_are_told_what_is_right() {
        for (method, told) in [
            (
                "async fn on_request(&self) {}",
                "`on_request` takes `&self, request: &mut Request` and, if it wants the body, `body: &mut Body`",
            ),
            ("async fn on_tick(&self, plugin: &Plugin) {}", "`on_tick` takes `&self`"),
            ("fn on_log(&self) {}", "`on_log` takes `&self, finished: &Finished`"),
            (
                "fn new() -> Self { X }",
                "`new` takes `config: Self::Config` and, if it wants the plugin, `plugin: &Plugin`",
            ),
            ("fn on_response(&self, response: &mut Response) {}", "`on_response` must be an `async fn`"),
            (
                "async fn on_log(&self, finished: &Finished) {}",
                "`on_log` cannot be an `async fn`, since nothing waits for it: what takes time goes to `background` or `spawn`",
            ),
        ] {
            assert_eq!(problem(method), told, "{method}");
        }
    }

    #[test]
    fn bodies_are_asked_for_by_the_parameter() {
        let callbacks = |method: &str| {
            let block = format!("impl Filter for X {{ {method} }}");
            let expanded = expand(TokenStream::new(), block.parse().expect("tokens")).expect("a filter");
            expanded.to_string().contains("REQUEST_BODY")
        };
        assert!(!callbacks("async fn on_request(&self, request: &mut Request) {}"));
        assert!(callbacks("async fn on_request(&self, request: &mut Request, body: &mut Body) {}"));
    }
}
