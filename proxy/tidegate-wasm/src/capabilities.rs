//! What a plugin may do of what the ABI has.

use crate::Side;

/// What a plugin may do. By default: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Host functions that it may call, by name; none: all.
    pub functions: Option<Names>,
    /// Foreign functions that it may call, by name; none: all, if it may call `proxy_call_foreign_function`.
    pub foreign: Option<Names>,
    /// Fields of requests, pseudo fields and trailers included.
    pub request_headers: FieldAccess,
    /// Fields of responses, likewise.
    pub response_headers: FieldAccess,
    /// Bodies of requests.
    pub request_body: BodyAccess,
    /// Bodies of responses.
    pub response_body: BodyAccess,
    /// Upstreams that it may choose for requests; none: all.
    pub forward_to: Option<Vec<String>>,
    /// Routes and rules that it may choose for requests, as it names them; none: all.
    pub route_to: Option<Vec<String>>,
}

/// Fields that a plugin may read or change, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldAccess {
    /// None: all.
    pub read: Option<Names>,
    /// None: all.
    pub write: Option<Names>,
}

/// What a plugin may do with a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyAccess {
    /// Its callbacks for bodies are not called.
    None,
    /// Reading.
    Read,
    /// Reading and changing.
    #[default]
    Write,
}

/// A list of names; `x-*` stands for all that begin with `x-`. Case does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    whole: Vec<String>,
    beginnings: Vec<String>,
}

impl Names {
    /// From names as people write them.
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let mut list = Self::default();
        for name in names {
            let name = name.as_ref().to_ascii_lowercase();
            match name.strip_suffix('*') {
                Some(beginning) => list.beginnings.push(beginning.to_owned()),
                None => list.whole.push(name),
            }
        }
        list
    }

    /// Whether a name is in it.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let begins = |beginning: &String| {
            name.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
        };
        self.whole.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
            || self.beginnings.iter().any(begins)
    }
}

impl Capabilities {
    /// Before the name of a foreign function in a list of functions.
    const FOREIGN: &str = "foreign:";

    /// May call the functions of this list only: those of the ABI and of WASI by name, single foreign functions as
    /// `foreign:NAME`, all of them by `proxy_call_foreign_function`.
    pub fn restrict_functions<T: AsRef<str>>(&mut self, list: &[T]) {
        const ALL: &str = "proxy_call_foreign_function";
        let (foreign, functions): (Vec<&str>, Vec<&str>) =
            list.iter().map(AsRef::as_ref).partition(|name| name.starts_with(Self::FOREIGN));
        let mut functions = Names::new(functions);
        self.foreign = None;
        if !foreign.is_empty() && !functions.has(ALL.as_bytes()) {
            functions.whole.push(ALL.to_owned());
            let names = foreign.iter().map(|name| name.strip_prefix(Self::FOREIGN).unwrap_or(name));
            self.foreign = Some(Names::new(names));
        }
        self.functions = Some(functions);
    }

    /// Whether it may call a foreign function, if it may call any.
    pub(crate) fn has_foreign(&self, name: &[u8]) -> bool {
        self.foreign.as_ref().is_none_or(|names| names.has(name))
    }

    /// The rules for fields of one side.
    pub(crate) fn fields(&self, side: Side) -> &FieldAccess {
        match side {
            Side::Request => &self.request_headers,
            Side::Response => &self.response_headers,
        }
    }

    /// The rule for bodies of one side.
    pub(crate) fn body(&self, side: Side) -> BodyAccess {
        match side {
            Side::Request => self.request_body,
            Side::Response => self.response_body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_functions_are_granted_alone_or_all() {
        for (list, all, redis) in [
            (&["proxy_log"][..], false, true),
            (&["proxy_log", "foreign:tidegate_redis"], true, true),
            (&["foreign:tidegate_r*"], true, true),
            (&["foreign:compress"], true, false),
            (&["proxy_*", "foreign:compress"], true, true),
        ] {
            let mut capabilities = Capabilities::default();
            capabilities.restrict_functions(list);
            let functions =
                capabilities.functions.as_ref().map(|names| names.has(b"proxy_call_foreign_function"));
            assert_eq!(
                (functions, capabilities.has_foreign(b"tidegate_redis")),
                (Some(all), redis),
                "{list:?}"
            );
        }
    }

    #[test]
    fn names_are_whole_or_beginnings() {
        let names = Names::new([":path", "X-Team-*"]);
        for (name, is_in) in [
            (":path", true),
            (":PATH", true),
            ("x-team-a", true),
            ("X-TEAM-", true),
            ("x-tea", false),
            ("", false),
        ] {
            assert_eq!(names.has(name.as_bytes()), is_in, "{name}");
        }
        assert!(Names::new(["*"]).has(b"anything"));
        assert!(!Names::new::<&str>([]).has(b"anything"));
    }
}
