//! `kubefed`: the federation's command line.

fn main() {}
