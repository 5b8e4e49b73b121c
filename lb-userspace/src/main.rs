//! `xlb`: daemon and command line in one file.

fn main() {}
