//! Checks what the parser leaves open.
