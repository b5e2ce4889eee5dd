//! The functions that a Wasm module exports, led to its one [`Module`](crate::module::Module). `#[filter]` calls this with
//! the callbacks that the filter needs; native builds export nothing.

/// What every module does first: panics become log lines.
#[cfg(target_arch = "wasm32")]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| crate::host::log(log::Level::Error, &panic.to_string())));
}

/// Exports callbacks of a filter; not for use by hand.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($filter:ty; $($callback:ident)*) => {
        // Natively nothing but tests makes a filter: without this the compiler takes one that is not `pub` for unused.
        #[cfg(not(target_arch = "wasm32"))]
        const _: ::core::marker::PhantomData<$filter> = ::core::marker::PhantomData;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static MODULE: $crate::__private::Module<$filter> = const { $crate::__private::Module::new() };
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            // Says that the two actions mean what they say, whatever else might wake the filter.
            #[unsafe(no_mangle)]
            extern "C" fn tidegate_exact_actions() {}

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                $crate::__private::start();
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(id: u32, owner: u32) {
                MODULE.with(|module| module.on_context_create(id, owner));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(root: u32, _size: u32) -> u32 {
                MODULE.with(|module| u32::from(module.on_configure(root)))
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_tick(root: u32) {
                MODULE.with(|module| module.on_tick(root));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: u32, body: u32, trailers: u32) {
                MODULE.with(|module| module.on_http_call_response(root, token, headers, body, trailers));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_grpc_receive_initial_metadata(root: u32, token: u32, _count: u32) {
                MODULE.with(|module| module.on_grpc_receive_initial_metadata(root, token));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_grpc_receive(root: u32, token: u32, size: u32) {
                MODULE.with(|module| module.on_grpc_receive(root, token, size));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_grpc_receive_trailing_metadata(root: u32, token: u32, _count: u32) {
                MODULE.with(|module| module.on_grpc_receive_trailing_metadata(root, token));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
                MODULE.with(|module| module.on_grpc_close(root, token, status));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
                MODULE.with(|module| module.on_queue_ready(root, queue));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_foreign_function(root: u32, token: u32, size: u32) {
                MODULE.with(|module| module.on_foreign_function(root, token, size));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_delete(id: u32) {
                MODULE.with(|module| module.on_delete(id));
            }

            $($crate::__export!(@$callback);)*
        };
    };
    (@request) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_headers(id: u32, _count: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_request_headers(id, end != 0))
        }
    };
    (@request_body) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_body(id: u32, size: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_request_body(id, size, end != 0))
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_request_trailers(id: u32, _count: u32) -> u32 {
            MODULE.with(|module| module.on_request_trailers(id))
        }
    };
    (@response) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_headers(id: u32, _count: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_response_headers(id, end != 0))
        }
    };
    (@response_body) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_body(id: u32, size: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_response_body(id, size, end != 0))
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_response_trailers(id: u32, _count: u32) -> u32 {
            MODULE.with(|module| module.on_response_trailers(id))
        }
    };
    (@connection) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_new_connection(id: u32) -> u32 {
            MODULE.with(|module| module.on_new_connection(id))
        }
    };
    (@client) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_downstream_data(id: u32, size: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_downstream_data(id, size, end != 0))
        }
    };
    (@server) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_upstream_data(id: u32, size: u32, end: u32) -> u32 {
            MODULE.with(|module| module.on_upstream_data(id, size, end != 0))
        }
    };
    (@log) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(id: u32) {
            MODULE.with(|module| module.on_log(id));
        }
    };
}
