//! The configuration of Tidegate.
pub mod plan;
