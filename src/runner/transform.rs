//! VRL.
