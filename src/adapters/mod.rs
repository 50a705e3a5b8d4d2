//! What talks to the outside: each folder implements one port against one real service.

pub mod http;
pub mod kubernetes;
pub mod notify;
pub mod prometheus;
pub mod secrets;
