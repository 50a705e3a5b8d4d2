//! What talks to the outside: each folder implements one port against one real service.

pub mod clock;
mod errors;
pub mod http;
pub mod kubernetes;
pub mod prometheus;
pub mod secrets;
mod tls;
