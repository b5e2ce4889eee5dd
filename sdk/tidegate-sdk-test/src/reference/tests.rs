//! The page of a small schema.

use serde_json::json;

use super::page;

#[test]
fn keys_types_defaults_and_sections_are_told() {
    let schema = json!({
        "description": "What is limited.",
        "type": "object",
        "properties": {
            "limit": { "description": "Requests a second,\nat least 1.", "type": "integer", "minimum": 1 },
            "by": { "$ref": "#/$defs/KeyPart", "description": "Whose | requests." },
            "names": { "type": ["array", "null"], "items": { "type": "string" }, "default": ["a"] },
        },
        "required": ["limit"],
        "$defs": { "KeyPart": { "description": "One part.", "oneOf": [
            { "const": "address", "description": "Where it comes from." },
            { "type": "object", "properties": { "header": { "type": "string" } }, "required": ["header"] },
        ] } },
    });
    let page = page("limit", &schema);
    for line in [
        "# limit: configuration reference",
        "What is limited.",
        "| `limit` | whole number, at least 1 | required | Requests a second, at least 1. |",
        "| `by` | [Key part](#key-part) |  | Whose \\| requests. |",
        "| `names` | list of string | `[\"a\"]` |  |",
        "## Key part",
        "- `address`: Where it comes from.",
        "- { `header` }",
        "| `header` | string | required |  |",
    ] {
        assert!(page.lines().any(|found| found == line), "{line:?} is not in\n{page}");
    }
    assert_eq!(page.matches("## Key part").count(), 1);
}

#[test]
fn types_that_name_themselves_end() {
    let schema = json!({
        "type": "object",
        "properties": { "all": { "$ref": "#/$defs/Rule" } },
        "$defs": { "Rule": { "type": "object", "properties": { "not": { "$ref": "#/$defs/Rule" } } } },
    });
    assert_eq!(page("rules", &schema).matches("## Rule").count(), 1);
}
