//! Clients of the federation and of its members, informers, leader election.
