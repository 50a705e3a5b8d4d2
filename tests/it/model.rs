//! The state machine of a run, walked exhaustively within bounds, with the product's own functions.
//!
//! `steps`: one step, as a writer that goes on and a reader that has only its records, of which those of a way back may be
//! missing. Every pair of states that can be reached is walked; every legal transition is shown to be needed.
//!
//! `laws`: the join of phases and of wishes, over all small sets and all orders.
//!
//! `runs`: the product's engine itself, on two targets in two waves. Between two processes of a run the whole of what
//! there is lies on disk: the journals, releases and wishes of the targets, and what their machines run. From every such
//! state that can be reached every command is tried, and on its way, at every record and at every effect, everything that
//! can go wrong or be asked, once; breadth first, until nothing new is found or the bound is reached.
//!
//! Not modelled: two processes that hold the same lease at once (the lease and its time-outs are tested by themselves), the
//! contents of effects (each step turns one switch), more than one thing going wrong in one process (but in each one after
//! it), clocks that disagree, damaged records.

mod disk;
mod laws;
mod runs;
mod steps;
