;; Puts one entry into the queue "q" of the plugin "receiver" for each request; answers 503 where there is none.
(module
  (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "receiver")
  (data (i32.const 16) "q")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.or
          (call $resolve (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 1) (i32.const 64))
          (call $enqueue (i32.load (i32.const 64)) (i32.const 0) (i32.const 8)))
      (then
        (drop (call $reply (i32.const 503) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const -1)))
        (return (i32.const 1))))
    (i32.const 0)))
