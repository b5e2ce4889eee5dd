;; Sets x-filter of the response to ${mark}, which has eight characters.
(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-filter")
  (data (i32.const 32) "${mark}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (drop (call $set (i32.const 2) (i32.const 16) (i32.const 8) (i32.const 32) (i32.const 8)))
    (i32.const 0)))
