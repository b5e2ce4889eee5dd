//! What is told of requests and of the configuration: logs, metrics, traces, records.

mod access_log;
mod ledger;
mod metrics;
mod otlp_logs;
mod otlp_tls;
mod taps;
mod trace_calls;
mod traces;
