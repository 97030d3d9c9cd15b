//! under_load
