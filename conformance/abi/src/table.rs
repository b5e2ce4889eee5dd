//! The table of all cases: `docs/abi.md`.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::case::Case;
use crate::guest::calls;

/// The page.
pub fn table(cases: &[Case]) -> String {
    let mut page = String::from(HEAD);
    let differing: Vec<&Case> = cases.iter().filter(|case| case.differs.is_some()).collect();
    write!(page, "{} cases.\n\n## Where Tidegate differs from Envoy\n\n| row | what Tidegate does | why |\n|---|---|---|\n", cases.len())
        .unwrap();
    for case in &differing {
        let why = case.differs.as_deref().unwrap_or_default();
        writeln!(page, "| {} | {} | {why} |", case.subject, case.statement).unwrap();
    }
    let mut section = "";
    for case in cases {
        if case.section != section {
            section = &case.section;
            write!(
                page,
                "\n## {section}\n\n| row | what is so | ABI | statuses | case |\n|---|---|---|---|---|\n"
            )
            .unwrap();
        }
        let statuses: BTreeSet<i64> = calls(case).iter().filter_map(|call| call.status).collect();
        let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        let place = match &case.wire {
            Some((file, test)) => format!("wire/tests/{file}: {test}"),
            None => case.place.clone(),
        };
        let (subject, statement, abi) = (&case.subject, &case.statement, &case.abi);
        let statuses = statuses.join(", ");
        writeln!(page, "| `{subject}` | {statement} | {abi} | {statuses} | {place} |").unwrap();
    }
    page
}

const HEAD: &str = "\
# The ABI, row by row

Made from `conformance/abi/cases` by `UPDATE_ABI=1 cargo test -p tidegate-abi-cases`; a test compares. Each row is a guest
and what happens to it, run against the host; the statuses and the bytes that the case lists are asserted. Statuses: 0 ok, 1
not found, 2 bad argument, 3 serialization, 4 parse, 5 bad expression, 6 invalid memory, 7 empty, 8 cas mismatch, 9 result
mismatch, 10 internal, 11 broken connection, 12 unimplemented; those of `wasi.` functions are WASI's.

";
