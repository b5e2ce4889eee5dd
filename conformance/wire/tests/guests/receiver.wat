;; Registers the queue "q" and calls "up" once for each entry that it takes out of it.
(module
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "q")
  (data (i32.const 48) "up")
  ;; Four pairs for the call: method, scheme, path, authority.
  (data (i32.const 128) "\04\00\00\00\07\00\00\00\03\00\00\00\07\00\00\00\04\00\00\00\05\00\00\00\05\00\00\00\0a\00\00\00\06\00\00\00:method\00GET\00:scheme\00http\00:path\00/call\00:authority\00a.test\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.eqz (call $register (i32.const 16) (i32.const 1) (i32.const 64))))
  (func (export "proxy_on_queue_ready") (param i32) (param $queue i32)
    (if (call $dequeue (local.get $queue) (i32.const 64) (i32.const 68)) (then (return)))
    (if (call $call (i32.const 48) (i32.const 2) (i32.const 128) (i32.const 91) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 72)) (then (unreachable)))))
