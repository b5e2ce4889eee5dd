//! The public API of the published crates, as text beside each crate: a change of it shows in the diff, and cannot happen
//! unnoticed.
//!
//! The listing has what is written `pub`, by file: the lint `unreachable_pub` sees to it that such things can be reached.
//! What is hidden from the documentation, and tests, are not in it. What changes may come with which version is
//! `promise.rs`.

use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Signature, TraitItem, Visibility};

use super::{Package, promise, read, shown};
use crate::{Outcome, shell};

/// The crates that are published, with code that others write against.
pub(crate) const CRATES: &[&str] = &[
    "tidegate-abi",
    "tidegate-limiter",
    "tidegate-password",
    "tidegate-sdk",
    "tidegate-sdk-macros",
    "tidegate-sdk-test",
];

/// A line of a struct that has fields which others do not see.
pub(super) const HIDDEN: &str = "…";

/// Each crate whose listing is not what its source says, or breaks what was promised with its version.
pub(super) fn check(files: &[PathBuf], packages: &[Package]) -> Outcome<Vec<String>> {
    let mut problems = Vec::new();
    for name in CRATES {
        let (path, text) = (place(name, "api.txt"), listing(name, files)?);
        problems.extend(promise::check(name, version(name, packages)?, &text)?);
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        if known != text {
            problems.push(format!(
                "{}: the crate's public API is not this one any more{}; see \"The published API\" in CONTRIBUTING.md, \
                 and run `cargo xtask api`",
                shown(&path),
                first_difference(&known, &text)
            ));
        }
    }
    Ok(problems)
}

/// Writes the listings; for a release also what is promised from now on.
pub(crate) fn write(is_release: bool) -> Outcome<bool> {
    let files = super::rust_files(&shell::root().join("sdk"))?;
    let packages = super::packages()?;
    for name in CRATES {
        let (path, text) = (place(name, "api.txt"), listing(name, &files)?);
        if is_release {
            promise::write(name, version(name, &packages)?, &text)?;
        }
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", shown(&path)))?;
    }
    Ok(true)
}

/// A file beside a crate's manifest.
pub(super) fn place(name: &str, file: &str) -> PathBuf {
    shell::root().join("sdk").join(name).join(file)
}

fn version<'a>(name: &str, packages: &'a [Package]) -> Outcome<&'a str> {
    let found = packages.iter().find(|package| package.name == name);
    Ok(&found.ok_or_else(|| format!("the workspace has no crate {name}"))?.version)
}

fn first_difference(known: &str, text: &str) -> String {
    let known: Vec<&str> = known.lines().collect();
    let text: Vec<&str> = text.lines().collect();
    if let Some(new) = text.iter().find(|line| !known.contains(line)) {
        return format!(" (new: {})", new.trim());
    }
    known
        .iter()
        .find(|line| !text.contains(line))
        .map_or(String::new(), |old| format!(" (gone: {})", old.trim()))
}

/// What a crate shows, by file.
fn listing(name: &str, files: &[PathBuf]) -> Outcome<String> {
    let source = shell::root().join("sdk").join(name).join("src");
    let mut text = String::new();
    for path in files {
        let Ok(inside) = path.strip_prefix(&source) else { continue };
        let lines = of_file(&read(path)?).map_err(|error| format!("{}: {error}", shown(path)))?;
        if !lines.is_empty() && !is_test(inside) {
            text.push_str(&format!("# {}\n", inside.display()));
            lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
    }
    Ok(text)
}

/// Tests, and the guide that is tested with the documentation.
fn is_test(inside: &Path) -> bool {
    inside.iter().any(|part| ["tests", "tests.rs", "guide.rs"].iter().any(|name| part == *name))
}

fn of_file(text: &str) -> Result<Vec<String>, syn::Error> {
    let mut lines = Vec::new();
    let items = syn::parse_file(text)?.items;
    let own: Vec<String> = items.iter().filter_map(own_type).collect();
    let about_own = |item: &&Item| match item {
        Item::Impl(item) => own.iter().any(|name| is_of(&item.self_ty, name)),
        _ => false,
    };
    items.iter().filter(|item| !about_own(item)).for_each(|item| of_item(item, &mut lines));
    Ok(lines)
}

/// The name of a type that nobody else sees.
fn own_type(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) if !shows(&item.vis, &item.attrs) => Some(item.ident.to_string()),
        Item::Enum(item) if !shows(&item.vis, &item.attrs) => Some(item.ident.to_string()),
        _ => None,
    }
}

fn is_of(of: &syn::Type, name: &str) -> bool {
    matches!(of, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

fn of_item(item: &Item, lines: &mut Vec<String>) {
    match item {
        Item::Fn(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub {}", signature(&item.sig)))
        }
        Item::Struct(item) if shows(&item.vis, &item.attrs) => {
            let (name, generics) = (&item.ident, text(&item.generics));
            lines.push(format!(
                "{}pub struct {name}{generics}{}",
                marks(&item.attrs),
                bounds(&item.generics)
            ));
            of_fields(&item.fields, lines);
        }
        Item::Enum(item) if shows(&item.vis, &item.attrs) => {
            let (name, generics) = (&item.ident, text(&item.generics));
            lines.push(format!("{}pub enum {name}{generics}", marks(&item.attrs)));
            for variant in &item.variants {
                lines.push(format!("    {}", of_variant(variant)));
            }
        }
        Item::Trait(item) if shows(&item.vis, &item.attrs) => {
            let above = if item.supertraits.is_empty() {
                String::new()
            } else {
                format!(": {}", text(&item.supertraits))
            };
            lines.push(format!("pub trait {}{}{above}", item.ident, text(&item.generics)));
            lines.extend(item.items.iter().filter_map(of_trait));
        }
        Item::Const(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub const {}: {}", item.ident, text(&item.ty)));
        }
        Item::Static(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub static {}: {}", item.ident, text(&item.ty)));
        }
        Item::Type(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub type {}{} = {}", item.ident, text(&item.generics), text(&item.ty)));
        }
        Item::Use(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub use {}", text(&item.tree)))
        }
        Item::Mod(item) if shows(&item.vis, &item.attrs) => {
            lines.push(format!("pub mod {}", item.ident));
            let mut inner = Vec::new();
            item.content.iter().flat_map(|(_, items)| items).for_each(|item| of_item(item, &mut inner));
            lines.extend(inner.iter().map(|line| format!("    {line}")));
        }
        Item::Impl(item) if !is_hidden(&item.attrs) => of_impl(item, lines),
        Item::Macro(item) if item.attrs.iter().any(|one| one.path().is_ident("macro_export")) => {
            if let Some(name) = item.ident.as_ref().filter(|_| !is_hidden(&item.attrs)) {
                lines.push(format!("macro {name}!"));
            }
        }
        // What a macro of the crate's own makes is in its call.
        Item::Macro(item) if item.ident.is_none() && !is_hidden(&item.attrs) => {
            let made = text(&item.mac.tokens);
            if made.contains("pub ") {
                lines.push(format!("{}! {made}", text(&item.mac.path)));
            }
        }
        _ => {}
    }
}

fn of_fields(fields: &Fields, lines: &mut Vec<String>) {
    for (at, field) in fields.iter().enumerate().filter(|(_, field)| shows(&field.vis, &field.attrs)) {
        let name = field.ident.as_ref().map_or_else(|| at.to_string(), ToString::to_string);
        lines.push(format!("    pub {name}: {}", text(&field.ty)));
    }
    // Whether others can make one, and would have to name a new field.
    if fields.iter().any(|field| !shows(&field.vis, &field.attrs)) {
        lines.push(format!("    {HIDDEN}"));
    }
}

fn of_trait(item: &TraitItem) -> Option<String> {
    Some(match item {
        TraitItem::Fn(item) if !is_hidden(&item.attrs) => {
            let own = if item.default.is_some() { " { … }" } else { "" };
            format!("    {}{own}", signature(&item.sig))
        }
        TraitItem::Const(item) => format!("    const {}: {}", item.ident, text(&item.ty)),
        TraitItem::Type(item) => format!("    type {}: {}", item.ident, text(&item.bounds)),
        _ => return None,
    })
}

fn of_impl(item: &ItemImpl, lines: &mut Vec<String>) {
    let (generics, of) = (text(&item.generics), text(&item.self_ty));
    if let Some((path, _)) = &item.trait_ {
        lines.push(format!("impl{generics} {} for {of}", text(path)));
        for one in &item.items {
            if let ImplItem::Type(one) = one {
                lines.push(format!("    type {} = {}", one.ident, text(&one.ty)));
            }
        }
        return;
    }
    let mut inside = Vec::new();
    for one in &item.items {
        match one {
            ImplItem::Fn(one) if shows(&one.vis, &one.attrs) => {
                inside.push(format!("    pub {}", signature(&one.sig)));
            }
            ImplItem::Const(one) if shows(&one.vis, &one.attrs) => {
                inside.push(format!("    pub const {}: {}", one.ident, text(&one.ty)));
            }
            _ => {}
        }
    }
    if !inside.is_empty() {
        lines.push(format!("impl{generics} {of}{}", bounds(&item.generics)));
        lines.extend(inside);
    }
}

fn shows(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes)
}

/// Not in the documentation, or in tests only.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| {
        let inside = one.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        (one.path().is_ident("doc") && inside == "hidden") || (one.path().is_ident("cfg") && inside == "test")
    })
}

/// What is part of the promise: derived traits, and that there may be more.
fn marks(attributes: &[Attribute]) -> String {
    let kept = attributes
        .iter()
        .filter(|one| ["derive", "non_exhaustive"].iter().any(|name| one.path().is_ident(name)));
    kept.map(|one| format!("{} ", text(one))).collect()
}

fn signature(signature: &Signature) -> String {
    text(signature)
}

fn bounds(generics: &syn::Generics) -> String {
    generics.where_clause.as_ref().map(|clause| format!(" {}", text(clause))).unwrap_or_default()
}

fn of_variant(variant: &syn::Variant) -> String {
    let named = |field: &syn::Field| match &field.ident {
        Some(name) => format!("{name}: {}", text(&field.ty)),
        None => text(&field.ty),
    };
    let fields: Vec<String> = variant.fields.iter().map(named).collect();
    let number =
        variant.discriminant.as_ref().map(|(_, number)| format!(" = {}", text(number))).unwrap_or_default();
    match &variant.fields {
        Fields::Unit => format!("{}{number}", variant.ident),
        Fields::Named(_) => format!("{} {{ {} }}{number}", variant.ident, fields.join(", ")),
        Fields::Unnamed(_) => format!("{}({}){number}", variant.ident, fields.join(", ")),
    }
}

/// Tokens as they are mostly written.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (wide, narrow) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" < ", "<"),
        (" > ", "> "),
        (" >", ">"),
        ("< ", "<"),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("& ", "&"),
        (" : ", ": "),
        (" ;", ";"),
        ("# [", "#["),
        ("[ ", "["),
        (" ]", "]"),
        (" ?", "?"),
        ("? ", "?"),
        (" !", "!"),
        ("> ->", "> ->"),
        (" [", "["),
        ("->(", "-> ("),
        ("=(", "= ("),
        (",)", ")"),
        (", >", ">"),
    ] {
        text = text.replace(wide, narrow);
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::of_file;

    #[test]
    fn what_is_public_is_listed_and_nothing_else() {
        let source = r#"
            //! A module.
            mod private;
            pub use private::{One, Two};
            /// Documented.
            #[derive(Debug, Clone)]
            #[non_exhaustive]
            pub struct Three<T: Send> { /// One.
                pub one: Vec<T>, two: u8 }
            pub enum Four { A, B(u8), C { /// Why.
                why: String } }
            impl<T: Send> Three<T> { pub fn get(&self, at: usize) -> Option<&T> { None } fn hidden(&self) {} pub(crate) fn half(&self) {} }
            impl<T: Send> Iterator for Three<T> { type Item = T; fn next(&mut self) -> Option<T> { None } }
            impl Four { fn none(&self) {} }
            pub(crate) fn half() {}
            struct Own; impl Drop for Own { fn drop(&mut self) {} }
            #[doc(hidden)] pub fn unseen() {}
            pub const FIVE: u8 = 5;
            pub async fn six(a: impl Into<String>) -> Result<(), ()> { Ok(()) }
            pub trait Seven: Sized { const A: u8; type B: Clone; fn c(&self); fn d(&self) -> u8 { 1 } }
            #[cfg(test)] mod tests { pub fn eight() {} }
        "#;
        let want = [
            "pub use private::{ One, Two }",
            "#[derive(Debug, Clone)] #[non_exhaustive] pub struct Three<T: Send>",
            "    pub one: Vec<T>",
            "    …",
            "pub enum Four",
            "    A",
            "    B(u8)",
            "    C { why: String }",
            "impl<T: Send> Three<T>",
            "    pub fn get(&self, at: usize) -> Option<&T>",
            "impl<T: Send> Iterator for Three<T>",
            "    type Item = T",
            "pub const FIVE: u8",
            "pub async fn six(a: impl Into<String>) -> Result<(),()>",
            "pub trait Seven: Sized",
            "    const A: u8",
            "    type B: Clone",
            "    fn c(&self)",
            "    fn d(&self) -> u8 { … }",
        ];
        assert_eq!(of_file(source).expect("it is Rust"), want);
    }

    #[test]
    fn a_change_of_the_signature_changes_the_line() {
        let of = |text: &str| of_file(text).expect("it is Rust");
        assert_ne!(of("pub fn a(b: u8) {}"), of("pub fn a(b: u16) {}"));
        assert_ne!(of("pub struct A(pub u8);"), of("pub struct A(u8);"));
        assert_eq!(of("pub fn a(b: u8) {}"), of("pub fn a(b: u8) { panic!() }"));
    }
}
