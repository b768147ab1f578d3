//! What runners may do on this node (DESIGN §8.4). The node's own; the API cannot change it.
