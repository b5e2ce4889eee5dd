//! The filter's behaviour, natively: one file for each way, and one for what they have in common.

mod basic;
mod certificate;
mod handed_on;
mod hmac;
mod jwt;
mod key;
mod policy;

use tidegate_sdk_test::Gateway;

use crate::Auth;

pub(crate) fn gateway(config: &str) -> Gateway<Auth> {
    Gateway::start(config).expect("a correct configuration")
}

pub(crate) fn problem(config: &str) -> String {
    Gateway::<Auth>::start(config).expect_err("a wrong configuration").to_string()
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("auth", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/auth.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
