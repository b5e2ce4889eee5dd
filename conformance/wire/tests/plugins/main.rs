//! What the gateway does for modules and with them: limits, failures, bodies, calls, queues.

mod bodies;
mod capabilities;
mod choices;
mod done;
mod ends;
mod failures;
mod grpc;
mod higress;
mod hosts;
mod interest;
mod isolated_queues;
mod isolation;
mod late;
mod limits;
mod logs;
mod open;
mod pauses;
mod queues;
mod records;
mod tcp;
mod tls;
mod writes;
