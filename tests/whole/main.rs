//! The whole program from outside: real processes, real UDP, QUIC and HTTP, a real nginx. What is asserted is what a user sees.
//!
//! Nothing here asserts how long something takes: conditions are waited for, and a deadline only tells a hang from slowness.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod absence;
mod bad_input;
mod contract;
mod cut;
mod demo;
mod detection;
mod door;
mod formation;
mod harness;
mod identity;
mod keys;
mod lines;
mod nginx;
mod operations;
mod restart;
mod sight;
mod takeover;
mod zombie;
