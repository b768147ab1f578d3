//! Splits blocks of a file into lines.
