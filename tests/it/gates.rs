//! The canary analysis: its vectors, its bound, its alignment, its brake, and `metrics --replay`.

mod alignment;
mod bound;
mod brake;
mod replay;
mod swallowed;
