//! The one integration-test binary: `common` is the harness, and every other file tests one subcommand or one rule of
//! the whole crate. Run it with `scripts/test`.

mod apply;
mod call;
mod check_phone;
mod check_signature;
mod cli;
mod collect_outcomes;
mod common;
mod config;
mod costly_numbers;
mod demo;
mod detect_duplicates;
mod doctor;
mod durability;
mod elevenlabs;
mod evidence;
mod exit_codes;
mod explain;
mod export;
mod import_contacts;
mod import_queue;
mod layers;
mod listing;
mod livekit;
mod migrations;
mod numbers;
mod operators;
mod process_calls;
mod proofs;
mod reminders;
mod sandbox;
mod sandbox_stripe;
mod sandbox_twilio;
mod sandbox_webhooks;
mod sandbox_zoho;
mod send_event;
mod serve;
mod status;
mod suppress;

mod vapi;
mod welcome;
mod zoho;
