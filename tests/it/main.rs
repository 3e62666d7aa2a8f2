//! Everything that is tested from outside the source files: the sources themselves, the program's command line, and
//! the scenarios on a cluster.

mod scenarios;
mod tidy;
