//! Tests of instances with guests written as text.
