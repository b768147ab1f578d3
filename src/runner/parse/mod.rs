//! Native parse stages.
