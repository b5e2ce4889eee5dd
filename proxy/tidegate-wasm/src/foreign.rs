//! What foreign functions do, apart from guests and their memory: bytes in, bytes out.

pub(crate) mod crypto;
pub(crate) mod expression;
pub(crate) mod redis;
pub(crate) mod tokens;
pub(crate) mod zlib;

use expression::Expressions;

/// What a guest has defined by foreign functions; mostly while it is configured, and then for good.
#[derive(Clone, Default)]
pub(crate) struct Definitions {
    pub(crate) expressions: Expressions,
    /// Few, so a list.
    pub(crate) declared: Vec<Declared>,
}

/// A property that a guest has declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    pub(crate) name: Box<[u8]>,
    /// It is set once.
    pub(crate) readonly: bool,
    /// It is a string, not bytes.
    pub(crate) text: bool,
}
