//! An in-process Kubernetes API behind `tower::Service`.
