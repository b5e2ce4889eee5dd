//! The guide's code, compiled and run with the documentation tests.

/// Recipes.
#[doc = include_str!("../../../docs/filters/cookbook.md")]
pub struct Cookbook;

/// One filter of each kind.
#[doc = include_str!("../../../docs/design/sdk.md")]
pub struct Kinds;

/// The tutorial.
#[doc = include_str!("../../../docs/filters/tutorial.md")]
pub struct Tutorial;
