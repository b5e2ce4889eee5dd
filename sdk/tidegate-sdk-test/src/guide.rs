//! The guide's code, compiled and run with the documentation tests.

/// Recipes.
#[doc = include_str!("../../../docs/filters/cookbook.md")]
pub struct Cookbook;

/// One filter of each kind.
#[doc = include_str!("../../../docs/design/sdk.md")]
pub struct Kinds;

/// What the registry shows of this crate.
#[doc = include_str!("../README.md")]
pub struct Readme;

/// What it shows of the SDK.
#[doc = include_str!("../../tidegate-sdk/README.md")]
pub struct SdkReadme;

/// The tutorial.
#[doc = include_str!("../../../docs/filters/tutorial.md")]
pub struct Tutorial;
