//! What the data plane asks of Linux beyond tokio: socket options, `splice`, descriptors kept back.

pub(crate) mod sockets;
pub(crate) mod splice;
