//! The one integration-test binary: `common` is the harness, and every other file tests one subcommand or one rule of
//! the whole crate. Run it with `scripts/test`.

mod check_phone;
mod cli;
mod common;
mod config;
mod demo;
mod exit_codes;
mod import_contacts;
mod layers;
mod migrations;
mod sandbox;
mod vapi;
